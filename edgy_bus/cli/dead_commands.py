"""The options of `edgy-bus dead …`, and the explanation of each command.

As in `commands`, a command imports its work when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgy_bus.cli.commands import As, Broker, Json, Prefix, Yes, place_of

if TYPE_CHECKING:
    from edgy_bus.cli.dead import Choice

app = typer.Typer(
    help="Dead letters: events that receivers gave up.", no_args_is_help=True, rich_markup_mode=None
)

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODULE:BUS]", help="Where the bus is; not needed with --broker."),
]
WordsAndIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODULE:BUS] [ID]...", help="Where the bus is, and ids of letters."),
]
WordsAndId = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODULE:BUS ID", help="Where the bus is, and the id of a letter."),
]
Group = Annotated[str | None, typer.Option("--group", "-g", help="Letters of this group.")]
Receiver = Annotated[str | None, typer.Option(help="Letters of this receiver.")]
Model = Annotated[str | None, typer.Option(help="Letters of this model: accounts.User.")]
Key = Annotated[str | None, typer.Option(help="Letters of rows with this key.")]
Fingerprint = Annotated[str | None, typer.Option(help="Letters with this fingerprint.")]
Since = Annotated[
    str | None, typer.Option(help="Buried since: 30m, 2h, 7d, or a time in ISO 8601.")
]
Until = Annotated[str | None, typer.Option(help="Buried until; as --since.")]
Every = Annotated[bool, typer.Option("--all", help="All letters that match the other options.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count the letters and change nothing.")]


# The options that choose letters are the same for each command, and are written out each time: the
# framework reads them from the signature.


@app.command("list")
def list_(
    words: Words = None,
    letters: Annotated[
        bool, typer.Option("--letters", help="A line for each letter, with its id.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="The most lines with --letters.")] = 100,
    group: Group = None,
    receiver: Receiver = None,
    model: Model = None,
    key: Key = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """List why receivers gave events up: a line for each receiver and kind of reason.

    Reads Redis only. The exit status is 1 if there are dead letters.
    """
    place, rest = place_of(words or [], broker, prefix)
    choice = _choice(rest, group, receiver, model, key, fingerprint, since, until)
    from edgy_bus.cli.dead import show_failures, show_letters

    if letters:
        show_letters(place, choice, limit, as_json=json)
    else:
        show_failures(place, choice, as_json=json)


@app.command()
def show(
    words: WordsAndIds = None,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show the data of the event, with values of the row.")
    ] = False,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Show one dead letter: its reason, its event's header and, with --payload, the data.

    Reads Redis only. The exit status is 1 if there is no such letter.
    """
    place, rest = place_of(words or [], broker, prefix)
    # Many letters are what `export` is for.
    if len(rest) != 1:
        raise typer.BadParameter("name one letter by its id")
    from edgy_bus.cli.dead import show_letter

    show_letter(place, rest[0], payload=payload, as_json=json)


@app.command()
def replay(
    words: WordsAndIds = None,
    every: Every = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    by: As = None,
    group: Group = None,
    receiver: Receiver = None,
    model: Model = None,
    key: Key = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Let workers handle dead letters again: those with these ids, or --all that match.

    The letters of a row are handled in order, and before the events that the row gets meanwhile. A
    letter that fails again is a dead letter again. Repeating an interrupted command completes it.

    Needs Redis only, and starts nothing. The exit status is 1 if no letter matches, or if letters
    stay: rows that are held have to be released first.
    """
    place, rest = place_of(words or [], broker, prefix)
    choice = _choice(rest, group, receiver, model, key, fingerprint, since, until)
    # An action must be meant: `checked` refuses a command that names no letter.
    from edgy_bus.cli.dead import replay as run

    run(place, choice.checked(every=every, yes=yes), dry_run=dry_run, by=by, as_json=json)


@app.command()
def discard(
    words: WordsAndIds = None,
    every: Every = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    by: As = None,
    group: Group = None,
    receiver: Receiver = None,
    model: Model = None,
    key: Key = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Remove dead letters for ever: those with these ids, or --all that match.

    Save the letters before with `edgy-bus dead export`. Needs Redis only. The exit status is 1 if
    no letter matches.
    """
    place, rest = place_of(words or [], broker, prefix)
    choice = _choice(rest, group, receiver, model, key, fingerprint, since, until)
    from edgy_bus.cli.dead import discard as run

    run(place, choice.checked(every=every, yes=yes), dry_run=dry_run, by=by, as_json=json)


@app.command()
def edit(
    words: WordsAndId = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=JSON",
            help="A new value of the row, for example amount=5 or 'name=\"Ana\"'; may be repeated.",
        ),
    ] = None,
    editor: Annotated[
        bool, typer.Option("--editor", help="Open the data of the event in $EDITOR, as JSON.")
    ] = False,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the difference and change nothing.")
    ] = False,
    by: As = None,
    json: Json = False,
) -> None:
    """Change the data of a dead letter, before a replay. Shows the difference first.

    Needs the program, whose model or receiver says whether the result is still an event of the
    model, and whose signing keys sign the event anew. The edited letter has a new id.

    Needs no database, and starts nothing. The exit status is 1 if there is no such letter, or if
    nothing would change.
    """
    # A broker alone knows no model.
    place, rest = place_of(words or [], None, "")
    if place.bus is None or len(rest) != 1:
        raise typer.BadParameter("name the bus, MODULE:BUS, and one letter by its id")
    if bool(assignments) == editor:
        raise typer.BadParameter("write either --set FIELD=JSON or --editor")
    from edgy_bus.cli.dead_edit import edit as run

    run(place, rest[0], assignments or [], yes=yes, dry_run=dry_run, by=by, as_json=json)


@app.command()
def export(
    words: WordsAndIds = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file, which only its owner may read."),
    ] = None,
    group: Group = None,
    receiver: Receiver = None,
    model: Model = None,
    key: Key = None,
    fingerprint: Fingerprint = None,
    since: Since = None,
    until: Until = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
) -> None:
    """Write dead letters with the data of their events, a line of JSON for each.

    Reads Redis only. The exit status is 1 if no letter matches.
    """
    place, rest = place_of(words or [], broker, prefix)
    choice = _choice(rest, group, receiver, model, key, fingerprint, since, until)
    from edgy_bus.cli.dead import export as run

    run(place, choice, output)


def _choice(
    ids: list[str],
    group: str | None,
    receiver: str | None,
    model: str | None,
    key: str | None,
    fingerprint: str | None,
    since: str | None,
    until: str | None,
) -> "Choice":
    # Words that are no place are ids; `Choice` refuses those that are no ids either.
    from edgy_bus.cli.dead import Choice
    from edgy_bus.cli.moments import moment

    return Choice(
        ids=tuple(ids),
        group=group,
        receiver=receiver,
        model=model,
        key=key,
        fingerprint=fingerprint,
        since=moment(since),
        until=moment(until),
    )
