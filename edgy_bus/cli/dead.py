"""`edgy-bus dead …`: show, replay, discard and export dead letters."""

import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.moments import in_text
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.codec import dumps
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import Dead, Letter, Parts, Selection, ShownLetter, selection_of_ids

T = TypeVar("T")

NO_LETTER = "no dead letter matches"


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters that the options of a command choose, and whether to ask before acting."""

    ids: tuple[str, ...]
    group: str | None
    receiver: str | None
    model: str | None
    key: str | None
    fingerprint: str | None
    since: datetime | None
    until: datetime | None
    asks: bool = False

    @property
    def selection(self) -> Selection:
        """Return the letters. Raises `ConfigurationError` for an id that is no id."""
        # An id names one letter: an option beside it could only contradict.
        if not self.ids:
            return self._filter
        if self._filter != Selection():
            raise ConfigurationError("choose letters either by their ids or by options")
        return selection_of_ids(self.ids)

    @property
    def _filter(self) -> Selection:
        return Selection(
            group=self.group,
            receiver=self.receiver,
            model=self.model,
            subject=self.key,
            fingerprint=self.fingerprint,
            since=self.since,
            until=self.until,
        )

    def checked(self, *, every: bool, yes: bool) -> "Choice":
        """Return the choice for an action, which must be meant.

        Raises:
            ConfigurationError: unless ids or `--all` are given, not both.
        """
        if every == bool(self.ids):
            raise ConfigurationError(
                "name letters by their ids, or write --all for all that match the other options"
            )
        selection = self.selection
        return Choice(
            self.ids,
            selection.group,
            selection.receiver,
            selection.model,
            selection.subject,
            selection.fingerprint,
            selection.since,
            selection.until,
            asks=every and not yes,
        )


# Views


def show_failures(place: Place, choice: Choice, *, as_json: bool) -> None:
    """List the letters by failure."""
    view = operate(place, lambda parts: operations.dead(parts.broker, choice.selection))
    status = Exit.FINDING if view.count else Exit.FINE

    def report() -> None:
        _print_failures(view)
        # The streams count these letters, and nobody knows their receivers or reasons any more.
        if view.removed:
            typer.echo(
                "letters of all receivers that letter_retention or most_letters removed so far: "
                f"{view.removed}"
            )

    answer("dead list", view, report, as_json=as_json, status=status)


def show_letters(place: Place, choice: Choice, limit: int, *, as_json: bool) -> None:
    """List up to `limit` letters, oldest first."""

    async def read(parts: Parts) -> list[Letter]:
        letters: list[Letter] = []
        async for letter in operations.list_dead(parts.broker, choice.selection):
            letters.append(letter)
            # One more than is shown says that more match.
            if len(letters) > limit:
                break
        return letters

    letters = operate(place, read)
    data = {"letters": letters[:limit], "more": len(letters) > limit}
    answer(
        "dead list",
        data,
        lambda: _print_letters(letters, limit),
        as_json=as_json,
        status=Exit.FINDING if letters else Exit.FINE,
    )


def show_letter(place: Place, address: str, *, payload: bool, as_json: bool) -> None:
    """Show one letter."""
    shown = operate(
        place, lambda parts: operations.dead_letter(parts.broker, address, data=payload)
    )
    answer(
        "dead show",
        shown,
        lambda: _print_letter(shown, payload=payload),
        as_json=as_json,
        status=Exit.FINDING if shown is None else Exit.FINE,
    )


# Actions


def replay(place: Place, choice: Choice, *, dry_run: bool, by: str | None, as_json: bool) -> None:
    """Replay letters, and say which of them stay."""
    view = _counted(place, choice, "replay", dry_run=dry_run, as_json=as_json)
    result = _act(place, choice, view, partial(operations.replay_dead, by=by))
    # Letters that another operator has moved in the meantime are neither replayed nor a finding.
    stay = result.waiting + result.foreign + max(0, len(choice.ids) - result.matching)

    def report() -> None:
        typer.echo(f"replayed {result.replayed} of {result.matching} letters")
        if result.waiting:
            typer.echo(f"{result.waiting} stay: their rows are held, `edgy-bus held` lists them")
        if result.foreign:
            typer.echo(f"{result.foreign} stay: no event of this library, so for no receiver")
        _report_missing(choice, result.matching)

    status = Exit.FINDING if stay else Exit.FINE
    answer("dead replay", result, report, as_json=as_json, status=status)


def discard(place: Place, choice: Choice, *, dry_run: bool, by: str | None, as_json: bool) -> None:
    """Discard letters."""
    view = _counted(place, choice, "discard", dry_run=dry_run, as_json=as_json)
    result = _act(place, choice, view, partial(operations.discard_dead, by=by))
    missing = len(choice.ids) > result.matching

    def report() -> None:
        typer.echo(f"discarded {result.discarded} letters")
        _report_missing(choice, result.matching)

    status = Exit.FINDING if missing else Exit.FINE
    answer("dead discard", result, report, as_json=as_json, status=status)


def export(place: Place, choice: Choice, output: Path | None) -> None:
    """Write letters with their data as lines of JSON."""

    async def write(parts: Parts, file: IO[str]) -> int:
        # Line by line: ten thousand letters with their data do not fit into memory.
        count = 0
        async for shown in operations.export_dead(parts.broker, choice.selection):
            file.write(dumps(shown).decode() + "\n")
            count += 1
        return count

    with ExitStack() as stack:
        file: IO[str] = sys.stdout
        if output is not None:
            file = stack.enter_context(_new_file(output))
        count = operate(place, lambda parts: write(parts, file))
    if not count:
        typer.echo(NO_LETTER, err=True)
        raise typer.Exit(Exit.FINDING)
    if output is not None:
        typer.echo(f"wrote {count} letters to {output}")


def _new_file(path: Path) -> IO[str]:
    # Payloads are values of rows: for nobody but the operator.
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    return os.fdopen(file, "w", encoding="utf-8")


def _counted(place: Place, choice: Choice, action: str, *, dry_run: bool, as_json: bool) -> Dead:
    """Return the letters by failure, which are shown and counted before anything is done to them.

    Ends the command where nothing is to be done: no letter matches, the operator does not agree, or
    the command is a dry run.
    """
    # Counted apart from the action: what is given up in between is acted on as well.
    view = operate(place, lambda parts: operations.dead(parts.broker, choice.selection))
    command = f"dead {action}"
    if not view.count:
        answer(
            command,
            view,
            lambda: typer.echo(NO_LETTER, err=True),
            as_json=as_json,
            status=Exit.FINDING,
        )
    if not as_json:
        _print_failures(view)
    if dry_run:
        answer(
            command,
            view,
            lambda: typer.echo(f"would {action} {view.count} letters"),
            as_json=as_json,
        )
        raise typer.Exit
    if choice.asks:
        # A script that forgot --yes must not wait for an answer.
        if as_json or not sys.stdin.isatty():
            raise ConfigurationError(f"to {action} all {view.count} letters, add --yes")
        typer.confirm(f"{action} {view.count} letters?", abort=True)
    return view


def _act(
    place: Place,
    choice: Choice,
    view: Dead,
    action: Callable[..., Awaitable[T]],
) -> T:
    """Act on letters, with a bar of progress on a terminal."""
    # rich is slow to import, and needed on a terminal only.
    if not sys.stderr.isatty():
        return operate(place, lambda parts: action(parts.broker, choice.selection))
    from rich.console import Console
    from rich.progress import Progress as Bar

    async def act(parts: Parts, bar: Bar) -> T:
        # All letters of the streams: those that do not match are looked at as well.
        total = await operations.count_dead(parts.broker, choice.selection)
        task = bar.add_task(f"{view.count} letters", total=total)
        return await action(parts.broker, choice.selection, partial(bar.advance, task))

    with Bar(console=Console(stderr=True)) as bar:
        return operate(place, lambda parts: act(parts, bar))


# Text


def _report_missing(choice: Choice, matching: int) -> None:
    if len(choice.ids) > matching:
        typer.echo(f"{len(choice.ids) - matching} of the ids are no letter any more", err=True)


def _print_failures(view: Dead) -> None:
    if not view.count:
        typer.echo("there is no dead letter")
        return
    columns = ("letters", "group", "receiver", "model", "first", "last", "fingerprint", "why")
    rows = [
        (
            str(failure.count),
            failure.group,
            failure.receiver,
            failure.model,
            in_text(failure.first),
            in_text(failure.last),
            failure.fingerprint,
            failure.reason,
        )
        for failure in view.failures
    ]
    show(columns, rows)


def _print_letters(letters: list[Letter], limit: int) -> None:
    if not letters:
        typer.echo("there is no dead letter")
        return
    columns = ("id", "receiver", "signal", "row", "buried", "attempts", "fingerprint", "why")
    rows = [
        (
            letter.id,
            letter.receiver,
            letter.signal or "",
            letter.subject or "",
            in_text(letter.buried),
            str(letter.attempts),
            letter.fingerprint,
            letter.reason,
        )
        for letter in letters[:limit]
    ]
    show(columns, rows)
    if len(letters) > limit:
        typer.echo(f"more letters match: --limit {limit * 10}")


def _print_letter(shown: ShownLetter | None, *, payload: bool) -> None:
    if shown is None:
        typer.echo("there is no such letter: it was replayed or discarded", err=True)
        return
    letter = shown.letter
    rows = [
        ("id", letter.id),
        ("group", letter.group),
        ("receiver", letter.receiver),
        ("signal", f"{letter.model}.{letter.signal}"),
        ("row", letter.subject or ""),
        ("event", letter.event_id or ""),
        ("buried", in_text(letter.buried)),
        ("attempts", str(letter.attempts)),
        ("bytes", str(letter.size)),
        ("fingerprint", letter.fingerprint),
        ("why", letter.reason),
    ]
    rows += [(name, value) for name, value in shown.fields.items() if name != "id"]
    rows += [(f"{name} (base64)", value) for name, value in shown.binary.items()]
    show(("field", "value"), rows)
    # The header has the key of the row and the context, and no other value.
    if not payload:
        typer.echo("the data of the event is shown with --payload")
