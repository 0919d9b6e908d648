"""`edgy-bus trace`: what became of an event, or of a row."""

from collections.abc import Iterator

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.moments import in_text
from edgy_bus.cli.operating import reach_each
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.operations import (
    EventSummary,
    EventTrace,
    GroupJourney,
    GroupStage,
    Journey,
    Letter,
    ParkedEvent,
    ReceiverState,
    RowTrace,
    Stage,
)
from edgy_bus.reasons import printable

_GROUPS = ("group", "state", "owner", "receiver", "attempts", "next attempt", "why", "note")
_LETTERS = ("dead letter", "receiver", "buried", "attempts", "why")
_PARKED = ("parked in", "receiver", "number", "state", "attempts", "why")
_CAUSED = ("caused", "signal", "row", "time")
_ROW = ("event", "written", "signal", "outbox", "groups", "cause")


def show_event(place: Place, event_id: str, *, payload: bool, as_json: bool) -> None:
    """Show an event: its way, and its effects."""
    trace = reach_each(
        place,
        lambda parts, unreachable: operations.trace_event(
            parts, event_id, unreachable=unreachable, payload=payload
        ),
    )
    status = _exit(trace, is_met=trace.journey is not None)
    answer("trace", trace, lambda: _print_event(event_id, trace), as_json=as_json, status=status)


def show_row(place: Place, model: str, key: str, limit: int, *, as_json: bool) -> None:
    """Show the newest events of a row, a line for each, newest last."""
    trace = reach_each(
        place,
        lambda parts, unreachable: operations.trace_row(
            parts, model, key, limit=limit, unreachable=unreachable
        ),
    )
    status = _exit(trace, is_met=bool(trace.journeys))
    answer("trace", trace, lambda: _print_row(place, trace, limit), as_json=as_json, status=status)


def _exit(trace: EventTrace | RowTrace, *, is_met: bool) -> Exit:
    # Also with a place that does not answer: the answer names the place.
    if is_met:
        return Exit.FINE
    # The event may be at the place that does not answer.
    return Exit.UNREACHABLE if trace.unreachable else Exit.FINDING


# An event


def _print_event(event_id: str, trace: EventTrace) -> None:
    journey = trace.journey
    if journey is None:
        typer.echo(f"nothing is known of the event {event_id}", err=True)
        _print_limits(trace, is_met=False)
        return
    show(("field", "value"), [*_fields(journey), *_payload(trace)])
    tables = (
        (_GROUPS, [cells for group in journey.groups for cells in _group(group)]),
        (_LETTERS, list(map(_letter, journey.letters))),
        (_PARKED, list(map(_parked, journey.parked))),
        (_CAUSED, list(map(_caused, trace.caused))),
    )
    for columns, rows in tables:
        # Most events have neither letters nor effects: an empty table would only look like news.
        if rows:
            show(columns, rows)
    _print_limits(trace, is_met=True)


def _letter(letter: Letter) -> tuple[str, ...]:
    buried, attempts = in_text(letter.buried), str(letter.attempts)
    return letter.id, letter.receiver, buried, attempts, letter.reason


def _parked(parked: ParkedEvent) -> tuple[str, ...]:
    state = "released" if parked.released else "held"
    number, attempts = str(parked.number), str(parked.attempts)
    return parked.group, parked.receiver, number, state, attempts, parked.reason


def _caused(event: EventSummary) -> tuple[str, ...]:
    return event.id, _signal(event), event.subject or "", event.time


def _fields(journey: Journey) -> Iterator[tuple[str, str]]:
    event = journey.event
    yield "event", event.id
    yield "signal", _signal(event)
    yield "row", "" if event.subject is None else event.subject
    yield "time", event.time
    if event.source is not None:
        yield "source", event.source
    if event.to is not None:
        yield "to", event.to
    if event.backfill:
        yield "backfill", "repeats a row that existed before"
    if event.replay is not None:
        yield "replay", f"a copy of {event.replay}"
    # A name of the context may be that of a field.
    for name, value in event.context.items():
        yield f"context {name}", str(value)
    if event.causation is not None:
        yield "cause", event.causation
    if event.traceparent is not None:
        yield "trace", event.traceparent
    yield "outbox", _outbox(journey)
    yield "stream", _stream(journey)


def _payload(trace: EventTrace) -> Iterator[tuple[str, str]]:
    if trace.payload is not None:
        yield "data", trace.payload


def _outbox(journey: Journey) -> str:
    row = journey.outbox
    # Nobody knows which: the row tells its service, and there is no row.
    if row is None:
        return "no row: the outbox of another service, pruned, or an announcement (pre_*)"
    text = {
        Stage.PENDING: "waits for the relay",
        Stage.PUBLISHED: "published, not finished by every group",
        Stage.CONFIRMED: "published, and finished by every group",
    }[row.stage]
    return f"{text}; number {row.number}, written {in_text(row.written)}, {row.database}"


def _stream(journey: Journey) -> str:
    stream, entry = journey.event.stream, journey.stream
    if entry is None:
        return f"{stream}: no entry"
    fate = "" if entry.present else "; the entry is not there any more"
    return f"{stream}, entry {entry.entry}, appended {in_text(entry.appended)}{fate}"


def _signal(event: EventSummary) -> str:
    return f"{event.model}.{event.signal}"


def _group(group: GroupJourney) -> Iterator[tuple[str, ...]]:
    """Yield a line for each receiver with a note, or one for the group."""
    first = (group.group, group.stage.value, group.owner)
    note = ", ".join(_notes(group))
    if not group.receivers:
        yield (*first, "", "", "", "", note)
        return
    for number, receiver in enumerate(group.receivers):
        # The group stands in the first line of its receivers.
        beginning = ("", "", "") if number else first
        yield (*beginning, *_receiver(receiver), "" if number else note)


def _receiver(state: ReceiverState) -> tuple[str, ...]:
    fate = ""
    if state.put_aside:
        fate = "put aside"
    elif state.done:
        fate = "done"
    elif state.due is not None:
        # By the clock of the worker that has noted the time.
        fate = in_text(state.due)
    return state.receiver, str(state.attempts), fate, state.reason


def _notes(group: GroupJourney) -> Iterator[str]:
    if group.paused:
        yield "paused"
    if group.stage is GroupStage.UNREAD:
        yield "? unread events" if group.unread is None else f"{group.unread} unread events"
    # Nobody waits for the owner of a stream that is done with the event.
    if group.stage is GroupStage.SETTLED:
        return
    if not group.owner:
        yield "no worker has the stream"
    # The event waits until the owner takes over, or until another worker takes the stream.
    if group.reader and group.reader != group.owner:
        yield f"read by {group.reader}"
    if group.deliveries > 1:
        yield f"delivered {group.deliveries} times"


# A row


def _print_row(place: Place, trace: RowTrace, limit: int) -> None:
    if not trace.journeys:
        typer.echo(f"nothing is known of the row {trace.subject!r} of {trace.model}", err=True)
        _print_limits(trace, is_met=False)
        return
    if trace.more:
        typer.echo(f"there may be older events: --limit {min(200, limit * 10)}")
    show(_ROW, [_line(journey) for journey in trace.journeys])
    typer.echo(f"more of an event: `{_command(place)} EVENT`")
    _print_limits(trace, is_met=True)


def _line(journey: Journey) -> tuple[str, ...]:
    event, row = journey.event, journey.outbox
    return (
        event.id,
        event.time if row is None else in_text(row.written),
        event.signal,
        "" if row is None else row.stage.value,
        ", ".join(_fates(journey)),
        event.causation or "",
    )


def _fates(journey: Journey) -> Iterator[str]:
    for group in journey.groups:
        yield f"{group.group} {group.stage.value}"
    for letter in journey.letters:
        yield f"dead for {letter.receiver}"
    for parked in journey.parked:
        yield f"parked for {parked.receiver}"


# Both


def _command(place: Place) -> str:
    return " ".join(filter(None, ("edgy-bus trace", place.name)))


def _print_limits(trace: EventTrace | RowTrace, *, is_met: bool) -> None:
    lines = [f"could not be looked at: {place}" for place in trace.unreachable]
    lines += [f"note: {gap}" for gap in trace.gaps]
    if not is_met:
        lines.append(f"looked at: {', '.join(trace.places) or 'nowhere'}")
    for line in lines:
        # Names of models and groups are text of any program.
        typer.echo(printable(line), err=True)
