"""`edgy-bus top`: the load of groups and receivers, again and again, the largest lag first."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgy_bus.cli.operating import reach
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.status import outbox_line, relay_line
from edgy_bus.cli.tables import show
from edgy_bus.operations import Parts, Top, TopGroup, TopReceiver, TopView, Waiting
from edgy_bus.reasons import printable

_COLUMNS = (
    "group",
    "receiver",
    "state",
    "lag",
    "seconds",
    "in/s",
    "out/s",
    "in hand",
    "retries",
    "workers",
    "owners",
)
_NUMBERS = 3
"""Columns of text, before the columns of numbers."""

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show_top(place: Place, seconds: float, *, as_json: bool) -> None:
    """Show the load every few seconds until Ctrl-C; once in JSON, or without a terminal."""
    console = Console()
    is_live = console.is_terminal and not as_json

    async def watch(parts: Parts, unreachable: str) -> TopView:
        top = Top(parts, unreachable)
        if not is_live:
            return await top.step()
        with Live(Text("looking for a second"), console=console, screen=True) as live:
            while True:
                live.update(_screen(await top.step(), console.height), refresh=True)
                # The connections stay open between two looks.
                await asyncio.sleep(seconds)

    try:
        view = reach(place, watch)
    except KeyboardInterrupt:
        # The ordinary end of a watch is no error.
        raise typer.Exit from None
    answer("top", view, lambda: _print(view), as_json=as_json)


def _print(view: TopView) -> None:
    # First the lines: a table may be longer than the terminal.
    for line in _header(view):
        typer.echo(line)
    if view.groups:
        show(_COLUMNS, list(_rows(view)))


def _screen(view: TopView, height: int) -> RenderableType:
    lines = [printable(line) for line in _header(view)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(_COLUMNS):
        is_number = number >= _NUMBERS
        table.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    # The rest is below the end of the screen: the largest lag comes first.
    room = max(1, height - len(lines) - 2)
    for row in list(_rows(view))[:room]:
        # The name of a group may contain brackets, which are markup unless they are wrapped.
        cells = [Text(printable(cell)) for cell in row]
        table.add_row(*cells, style="bold" if row[0] else "")
    return Group(*map(Text, lines), table)


def _header(view: TopView) -> Iterator[str]:
    now = datetime.now(UTC)
    yield f"{now:%H:%M:%S}Z, rates of {view.seconds:.1f} s"
    for outbox in view.outboxes:
        yield outbox_line(outbox)
    for relay in view.relays:
        yield relay_line(relay)
    if not view.relays:
        yield "no relay is listed"
    if not view.groups:
        yield "no group has read a stream"


def _rows(view: TopView) -> Iterator[tuple[str, ...]]:
    """Yield a row for each group, and below it a row for each of its receivers."""
    for group in view.groups:
        yield _group(group)
        for receiver in group.receivers:
            yield _receiver(receiver)


def _group(group: TopGroup) -> tuple[str, ...]:
    return (
        group.name,
        "",
        group.state.value,
        f"{group.lag}{'' if group.counted else '+'}",
        f"{group.seconds:.0f}",
        _rate(group.arriving),
        _rate(group.finishing),
        str(group.unfinished),
        _retries(group.waiting),
        str(group.workers),
        str(group.owners),
    )


def _receiver(receiver: TopReceiver) -> tuple[str, ...]:
    return (
        "",
        receiver.name,
        receiver.state.value,
        "" if receiver.lag is None else str(receiver.lag),
        "" if receiver.seconds is None else f"{receiver.seconds:.0f}",
        "",
        _rate(receiver.handling),
        str(receiver.jobs),
        _retries(receiver.waiting),
        str(receiver.workers),
        "",
    )


def _rate(rate: float | None) -> str:
    # Unknown is not zero: nobody may take an old server for a group that stands still.
    if rate is None:
        return "?"
    return f"{rate:.1f}" if rate < 100 else f"{rate:.0f}"


def _retries(waiting: Waiting) -> str:
    if waiting.due is None:
        return str(waiting.count)
    # The clock of a worker may be behind, and its report is a moment old.
    seconds = max(0.0, (waiting.due - datetime.now(UTC)).total_seconds())
    return f"{waiting.count}, first in {_length(seconds)}"


def _length(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "0 s"
