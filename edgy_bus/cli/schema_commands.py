"""The options of `edgy-bus schema …`, and the explanation of each command.

As in `commands`, a command imports its work when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from edgy_bus.cli.commands import Broker, Import, Json, Prefix, Target, Where, place_of

app = typer.Typer(
    help="Contracts: the events and receivers of a service, for other services and for CI.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to a file, not to the output."),
]
# Two contracts are compared as files, or a file with the program of a pull request.
Contract = Annotated[
    str,
    typer.Argument(
        metavar="FILE|MODULE:BUS", help="A document of `schema export`, or where the bus is."
    ),
]


@app.command("export")
def export(
    target: Target,
    format_: Annotated[
        str,
        typer.Option("--format", "-f", metavar="asyncapi|json-schema|html", help="What to write."),
    ] = "asyncapi",
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="In a page of HTML, show the subscribers at the broker of the bus."
        ),
    ] = False,
    import_: Import = None,
    output: Output = None,
) -> None:
    """Write the contract of a service: its streams, events and receivers. Secret fields are absent.

    Connects to nothing, unless --live is given, and runs no hook. The same program always gives the
    same document. HTML needs the extra edgy_bus[dashboard].
    """
    from edgy_bus.cli.schema import Form, export_contract

    # Checked here: the type would import the contracts for every `--help`.
    if format_ not in set(Form):
        raise typer.BadParameter("--format takes asyncapi, json-schema or html")
    # A document that changed with the broker could not be compared with the one of the last merge.
    if live and format_ != Form.HTML:
        raise typer.BadParameter("--live is for --format html: documents are the same everywhere")
    export_contract(target, import_ or [], Form(format_), output, live=live)


@app.command("diff")
def diff(
    old: Contract,
    new: Contract,
    fail_on: Annotated[
        str, typer.Option(metavar="breaking|care", help="The changes that make the status 1.")
    ] = "breaking",
    import_: Import = None,
    json: Json = False,
) -> None:
    """Compare two contracts: name each change, and say whether it breaks consumers.

    The exit status is 1 if a change is breaking. docs/contracts.md explains every change.
    """
    # As in `export`.
    from edgy_bus.cli.schema import FailOn, show_difference

    if fail_on not in set(FailOn):
        raise typer.BadParameter("--fail-on takes breaking or care")
    show_difference(old, new, import_ or [], FailOn(fail_on), as_json=json)


@app.command("classes")
def classes(target: Contract, import_: Import = None, output: Output = None) -> None:
    """Write a Python module with a pydantic class for each event, for services without edgy_bus."""
    from edgy_bus.cli.schema import write_classes

    write_classes(target, import_ or [], output)


@app.command("catalogue")
def catalogue(
    target: Where = None, broker: Broker = None, prefix: Prefix = "edgy", json: Json = False
) -> None:
    """Show the publishers and subscribers of all services at a broker.

    Reads Redis only. The exit status is 1 if a receiver waits for a model that nobody publishes.
    """
    from edgy_bus.cli.schema import show_catalogue

    place, _ = place_of([target], broker, prefix)
    show_catalogue(place, as_json=json)
