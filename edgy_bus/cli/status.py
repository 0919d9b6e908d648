"""`edgy-bus status`, `groups` and `streams`: how far groups are, and what waits."""

import asyncio
from collections.abc import Sequence

import typer
from rich.console import Console

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.moments import in_text
from edgy_bus.cli.operating import operate, reach
from edgy_bus.cli.output import answer, envelope
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.operations import (
    GroupStatus,
    OutboxStatus,
    Parts,
    RelayStatus,
    Since,
    Status,
    StreamStatus,
)
from edgy_bus.reasons import printable

_GROUPS = ("group", "workers", "lag", "seconds", "in hand", "dead", "held", "note")
_OWNERS = ("group", "worker", "streams", "first taken", "last taken", "note")
_STREAMS = (
    "stream",
    "entries",
    "bytes",
    "group",
    "owner",
    "since",
    "lag",
    "seconds",
    "dead",
    "held",
)


def show_status(place: Place, *, as_json: bool) -> None:
    """Show the groups, and the outboxes of a bus."""
    view = reach(place, operations.status)
    answer("status", view, lambda: _print(view), as_json=as_json, status=_exit(view))


def show_groups(place: Place, *, as_json: bool) -> None:
    """Show the groups and the owners of their streams; needs no database."""
    # Without the outboxes: this view works while the databases are away.
    view = operate(place, lambda parts: operations.status(Parts(parts.broker, parts.service)))

    def report() -> None:
        _print_groups(view.groups)
        rows = [
            (
                group.name,
                worker,
                str(count),
                *_taken(group.since.get(worker)),
                "" if worker in group.workers else "not alive",
            )
            for group in view.groups
            for worker, count in sorted(group.owners.items())
        ]
        if rows:
            show(_OWNERS, rows)

    answer("group list", {"groups": view.groups}, report, as_json=as_json, status=_exit(view))


def show_streams(place: Place, model: str | None, group: str | None, *, as_json: bool) -> None:
    """Show the streams, each with its groups."""
    views = operate(place, lambda parts: operations.streams(parts.broker, model=model, group=group))
    answer("streams", {"streams": views}, lambda: _print_streams(views), as_json=as_json)


def watch_status(place: Place, seconds: float, *, as_json: bool) -> None:
    """Show the status again and again, until Ctrl-C."""

    async def watch(parts: Parts, unreachable: str) -> None:
        while True:
            view = await operations.status(parts, unreachable)
            if as_json:
                typer.echo(envelope("status", view, _exit(view)))
            else:
                Console().clear()
                _print(view)
            # The connections stay open between two looks.
            await asyncio.sleep(seconds)

    try:
        reach(place, watch)
    except KeyboardInterrupt:
        # The ordinary end of a watch is no error.
        raise typer.Exit from None


def _exit(view: Status) -> Exit:
    return Exit.FINE if view.well else Exit.FINDING


def _print(view: Status) -> None:
    size = "" if view.size is None else f", {view.size:,} bytes"
    # First what has no table: a table may be longer than the terminal.
    typer.echo(f"{view.models} models, {view.streams} streams, {view.entries:,} entries{size}")
    for outbox in view.outboxes:
        typer.echo(outbox_line(outbox))
    for relay in view.relays:
        typer.echo(relay_line(relay))
    if not view.relays:
        typer.echo("no relay is listed")
    _print_groups(view.groups)


def outbox_line(outbox: OutboxStatus) -> str:
    """Return a line with the events that wait in an outbox."""
    waits = "" if outbox.seconds is None else f", the oldest for {outbox.seconds:.0f} s"
    count = outbox.error or f"{outbox.pending} events to publish{waits}"
    return f"outbox {outbox.database}: {count}"


def relay_line(relay: RelayStatus) -> str:
    """Return a line with the place of a relay, and whether the relay leads."""
    # Any program may have written the names, and none of them may end the line.
    state = "leads" if relay.leads else "stands by"
    release = f", release {relay.version}" if relay.version else ""
    place = printable(f"relay of {relay.service} (outbox {relay.outbox[:8]}) at {relay.place}")
    return f"{place} {state} since {in_text(relay.since)}{printable(release)}"


def _taken(since: Since | None) -> tuple[str, str]:
    return ("", "") if since is None else (in_text(since.first), in_text(since.last))


def _print_groups(groups: Sequence[GroupStatus]) -> None:
    if not groups:
        typer.echo("no group has read a stream")
        return
    show(_GROUPS, [_group(group) for group in groups])


def _group(group: GroupStatus) -> tuple[str, ...]:
    return (
        group.name,
        str(len(group.workers)),
        f"{group.lag}{'' if group.counted else '+'}",
        f"{group.seconds:.0f}",
        str(group.unfinished),
        str(group.dead),
        str(group.held),
        _note(group),
    )


def _note(group: GroupStatus) -> str:
    if group.deserted:
        return "no worker: start one, or `edgy-bus group forget`"
    # Each note is the command that shows more.
    notes = []
    if group.pause is not None:
        notes.append(f"paused by {group.pause.note}")
    # By name: an operator looks for the receiver that waits.
    if group.paused:
        notes.append(f"{', '.join(group.paused)} paused")
    if group.tripped:
        notes.append(f"breaker of {', '.join(group.tripped)} open")
    if group.dead:
        notes.append("`edgy-bus dead list`")
    if group.removed:
        notes.append(f"dead letters removed by age or number: {group.removed}")
    if group.held:
        notes.append("`edgy-bus held`")
    if group.aside:
        lag = sum(aside.lag for aside in group.aside.values())
        notes.append(f"{len(group.aside)} receivers aside, {lag} events: `receiver list`")
    if group.unowned and group.pause is None:
        notes.append(f"{group.unowned} streams without an owner")
    if group.waiting.count:
        due = group.waiting.due
        # A report of another program may have a count alone.
        first = "" if due is None else f", the first until {in_text(due)}"
        notes.append(f"{group.waiting.count} retries wait{first}")
    if group.unpublished:
        notes.append(f"nobody publishes {', '.join(group.unpublished)}")
    return ", ".join(notes)


def _print_streams(views: Sequence[StreamStatus]) -> None:
    rows = [
        (
            f"{view.model}:{view.partition}",
            str(view.entries),
            "" if view.size is None else str(view.size),
            *cells,
        )
        for view in views
        for cells in _groups_of(view)
    ]
    if rows:
        show(_STREAMS, rows)
    else:
        typer.echo("there is no stream")


def _groups_of(view: StreamStatus) -> Sequence[tuple[str, ...]]:
    cells = [
        (
            group.name,
            group.owner,
            "" if group.since is None else in_text(group.since),
            "?" if group.lag is None else str(group.lag),
            f"{group.seconds:.0f}",
            str(group.dead),
            str(group.held),
        )
        for group in view.groups
    ]
    # A stream that no group has read has a line, too.
    return cells or [("",) * (len(_STREAMS) - 3)]
