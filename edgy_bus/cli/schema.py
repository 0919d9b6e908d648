"""`edgy-bus schema export`, `diff`, `classes` and `catalogue`: contracts between services."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import typer

from edgy_bus import operations
from edgy_bus.bus import Bus
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.contracts import (
    Change,
    Contract,
    Difference,
    Document,
    Effect,
    Reading,
    asyncapi,
    compare,
    json_schema,
    model_contracts,
    parse,
    read,
    receiver_contracts,
)
from edgy_bus.contracts.classes import classes
from edgy_bus.errors import ConfigurationError
from edgy_bus.loading import load_bus
from edgy_bus.operations import Catalogue
from edgy_bus.reasons import printable

_PACKAGES = ("jinja2", "markupsafe")
"""What the page needs of the extra."""


class Form(StrEnum):
    """The forms of a contract."""

    ASYNCAPI = "asyncapi"
    JSON_SCHEMA = "json-schema"
    HTML = "html"


class FailOn(StrEnum):
    """The least effect of a change that ends the command with status 1."""

    CARE = "care"
    BREAKING = "breaking"


_COLORS = {Effect.BREAKING: "red", Effect.CARE: "yellow", Effect.FINE: "green"}


def export_contract(
    target: str, modules: Sequence[str], form: Form, output: Path | None, *, live: bool
) -> None:
    """Write the contract of a bus; with `live`, also the subscribers at its broker."""
    bus = _bus(target, modules)
    if form is Form.HTML:
        view = _catalogue(Place(target, bus)) if live else None
        _write(_page(read(asyncapi(contract_of(bus)), target), view), output)
        return
    document = asyncapi if form is Form.ASYNCAPI else json_schema
    _write(_text(document(contract_of(bus))), output)


def show_difference(
    old: str, new: str, modules: Sequence[str], fail_on: FailOn, *, as_json: bool
) -> None:
    """Show the changes from one contract to another."""
    difference = compare(_reading(old, modules), _reading(new, modules))
    answer(
        "schema diff",
        {"changes": [_data(change) for change in difference.changes]},
        lambda: _show(difference),
        as_json=as_json,
        status=Exit.FINDING if difference.fails(Effect[fail_on.name]) else Exit.FINE,
    )


def write_classes(target: str, modules: Sequence[str], output: Path | None) -> None:
    """Write the classes of a contract."""
    _write(classes(_reading(target, modules)), output)


def show_catalogue(place: Place, *, as_json: bool) -> None:
    """Show the publishers and the subscribers at a broker."""
    view = _catalogue(place)
    # For scripts, as for people: a receiver that waits for nobody is often a misspelt name.
    answer(
        "schema catalogue",
        view,
        lambda: _show_catalogue(view),
        as_json=as_json,
        status=Exit.FINDING if view.unpublished else Exit.FINE,
    )


def _catalogue(place: Place) -> Catalogue:
    return operate(place, lambda parts: operations.catalogue(parts.broker))


def contract_of(bus: Bus) -> Contract:
    """Return the contract of a bus, which is not started.

    Raises:
        ConfigurationError: in local mode, in which no event leaves the process.
    """
    if bus.broker is None:
        raise ConfigurationError(
            "this bus is in local mode, so no event leaves the process and there is no contract: "
            'give it a broker, Bus("redis://localhost:6379", …); nothing connects to it here'
        )
    return Contract(
        service=bus.service,
        version=bus.version,
        prefix=bus.prefix,
        partitions=bus.events.partitions,
        models=model_contracts(bus.service, bus.registries),
        receivers=receiver_contracts(bus.subscriptions()),
    )


def _bus(target: str, modules: Sequence[str]) -> Bus:
    bus = load_bus(target)
    # Also those of `Bus(receivers=…)`.
    bus.import_receivers(*modules)
    return bus


def _reading(target: str, modules: Sequence[str]) -> Reading:
    """Return the contract in a file, or of a bus."""
    # A file first: its name may contain a colon.
    path = Path(target)
    if path.is_file():
        try:
            return parse(path.read_text("utf-8"), target)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{target} cannot be read: {error}") from None
    if ":" not in target:
        raise ConfigurationError(
            f"{target!r} is neither a file nor MODULE:BUS; `edgy-bus schema export app:bus "
            "--output FILE` writes the file"
        )
    # As a document that was written and read: a tuple becomes a list.
    return parse(_text(asyncapi(contract_of(_bus(target, modules)))), target)


def _text(document: Document) -> str:
    # With line breaks, and names in the order of their declaration: people read a diff in reviews.
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _page(reading: Reading, view: Catalogue | None) -> str:
    try:
        from edgy_bus.contracts.page import page
    except ModuleNotFoundError as error:
        # A module that a package of the extra misses is a broken installation: show the traceback.
        if error.name not in _PACKAGES:
            raise
        raise ConfigurationError(
            f"a page of HTML needs the package {error.name}, which is not installed: "
            "pip install 'edgy_bus[dashboard]'"
        ) from None
    return page(reading, view)


def _write(text: str, output: Path | None) -> None:
    # Without colours and without a table: the output goes to a file or to another program.
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error}") from None


# Names in place of numbers: a script compares words.
def _data(change: Change) -> dict[str, str]:
    effect = change.effect.name.lower()
    return {"code": change.code, "effect": effect, "where": change.where, "text": change.text}


def _show(difference: Difference) -> None:
    if not difference.changes:
        typer.echo("nothing has changed")
    for change in difference.changes:
        effect = change.effect.name.lower()
        line = f"{effect} {change.code}: {change.where} {change.text}"
        # Names come from a file.
        typer.secho(printable(line), fg=_COLORS[change.effect])


def _show_catalogue(view: Catalogue) -> None:
    rows: list[tuple[str, ...]] = []
    for model in view.models:
        publisher = model.service if model.is_published else "nobody"
        # A model that nobody needs any more shows in its row.
        if not model.subscribers:
            rows.append((model.name, publisher, "", "nobody", ""))
        for each in model.subscribers:
            receiver = f"{each.group}/{each.receiver}"
            rows.append((model.name, publisher, each.signal, receiver, str(each.workers)))
    if rows:
        show(("model", "publisher", "signal", "subscriber", "live workers"), rows)
    else:
        typer.echo("no relay has declared a model, and no group has read a stream")
