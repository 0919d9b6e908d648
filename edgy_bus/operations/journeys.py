"""Journeys: the way of an event, as far as outbox, stream and notes still tell.

Nothing is written for these views while events are handled. So a view lacks facts that are tidied
up, and says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from edgy_bus.brokers.base import START, EntryId, GroupAtEntry
from edgy_bus.codec import BACKFILL, REPLAY, Envelope, loads
from edgy_bus.errors import EventError
from edgy_bus.events import ContextValue, Partition
from edgy_bus.operations.letters import Letter
from edgy_bus.operations.surveys import worker_of
from edgy_bus.outbox.store import FoundRow
from edgy_bus.runtime.outcome import unpack_notes

_UUID_DIGITS = 32


class Stage(StrEnum):
    """How far an event of the outbox is."""

    PENDING = "pending"
    """Not in its stream yet, as far as the database and the stream tell."""
    PUBLISHED = "published"
    """In its stream, and not finished by every group."""
    CONFIRMED = "confirmed"
    """Finished by every group."""


class GroupStage(StrEnum):
    """How far a group is with an entry."""

    UNREAD = "unread"
    UNFINISHED = "unfinished"
    """Read by a worker, and not finished by every receiver."""
    SETTLED = "settled"
    """Finished: handled, skipped, or put aside as a dead letter or a parked event."""


@dataclass(frozen=True, slots=True)
class EventSummary:
    """An event without its data.

    Attributes:
        id: the event.
        model: the model with its service, `accounts.User`.
        partition: the name of the event's stream.
        signal: the signal's name.
        subject: the key of the row; None for an event without a row.
        time: when the event was made, as the event says.
        source: the service that wrote the event.
        sequence: the position among the events of the row.
        causation: the id of the event whose receiver wrote this event.
        context: the actor, as the publisher described the actor.
        traceparent: the W3C trace context, for the tool that keeps traces.
        to: the only receiver, as GROUP/RECEIVER; None for all receivers.
        backfill: whether the event repeats a row that existed before.
        replay: the id of the event that the event is a copy of; None for an event that is no copy.
    """

    id: str
    model: str
    partition: str
    signal: str
    subject: str | None
    time: str
    source: str | None
    sequence: int | None
    causation: str | None
    context: Mapping[str, ContextValue]
    traceparent: str | None
    to: str | None
    backfill: bool = False
    replay: str | None = None

    @property
    def stream(self) -> Partition:
        """Return the stream of the event."""
        return Partition(self.model, self.partition)


@dataclass(frozen=True, slots=True)
class OutboxPlace:
    """The row of an event in an outbox.

    Attributes:
        database: the kind, the host and the name of the database.
        number: the id of the row.
        written: when the row was written, by the clock of the database; its transaction committed
            later.
        stage: how far the event is.
    """

    database: str
    number: int
    written: datetime
    stage: Stage


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """The entry of an event.

    Attributes:
        entry: the id of the entry.
        appended: when the entry was appended, by the clock of the broker.
        present: False if the entry was trimmed, or lost.
    """

    entry: str
    appended: datetime
    present: bool


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """The note of a group about a receiver of an unfinished event.

    Attributes:
        receiver: the receiver's name.
        attempts: calls that failed, or that had begun when their process ended.
        done: whether the receiver has finished with the event.
        put_aside: whether the receiver has finished because the event is a dead letter or parked.
        due: when the next attempt begins at the earliest; None for at once.
        reason: why the last call is repeated; empty if unknown.
    """

    receiver: str
    attempts: int
    done: bool
    put_aside: bool
    due: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class GroupJourney:
    """How far a group is with an event.

    Attributes:
        group: the name of the group.
        stage: unread, unfinished or settled.
        owner: the worker that has the stream now; empty if no worker has it.
        reader: the worker that has read the unfinished event last.
        deliveries: how many tenures have had the unfinished event in hand.
        receivers: receivers with a note; no call of another receiver has failed.
        unread: events of the stream that the group has not read; None if unknown.
        paused: whether the group's workers begin no call.
    """

    group: str
    stage: GroupStage
    owner: str
    reader: str
    deliveries: int
    receivers: tuple[ReceiverState, ...]
    unread: int | None
    paused: bool


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that waits among the parked events of a held row.

    Attributes:
        group: the group.
        receiver: the receiver that holds the row.
        number: the place among the parked events of the row, from 1.
        released: whether workers handle the parked events; otherwise an operator has to decide.
        attempts: calls of the receiver that began for this event, as long as it is the first.
        reason: why the event is parked.
        replayed: whether the event was a dead letter.
    """

    group: str
    receiver: str
    number: int
    released: bool
    attempts: int
    reason: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class Journey:
    """The way of an event.

    Attributes:
        event: the event.
        outbox: the row of the event; None if no outbox that was looked at has it.
        stream: the entry of the event; None if the entry is not known.
        groups: the groups of the stream; empty if the entry is not known.
        letters: the dead letters of the event.
        parked: where the event is parked.
    """

    event: EventSummary
    outbox: OutboxPlace | None = None
    stream: StreamPlace | None = None
    groups: tuple[GroupJourney, ...] = ()
    letters: tuple[Letter, ...] = ()
    parked: tuple[ParkedEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class EventTrace:
    """The answer to the question after an event.

    Attributes:
        journey: the event; None if no place knows the event.
        caused: events that receivers of this event wrote, oldest first.
        places: the places that were looked at.
        unreachable: the places that could not be looked at, each with the reason.
        gaps: sentences about facts that are not known.
        payload: the data of the event as JSON, if asked for.
    """

    journey: Journey | None
    caused: tuple[EventSummary, ...]
    places: tuple[str, ...]
    unreachable: tuple[str, ...]
    gaps: tuple[str, ...]
    payload: str | None = None


@dataclass(frozen=True, slots=True)
class RowTrace:
    """The answer to the question after a row.

    Attributes:
        model: the model with its service.
        subject: the key of the row.
        journeys: the newest events of the row, newest last.
        more: whether there are, or may be, older events of the row.
        places, unreachable, gaps: as for an event.
    """

    model: str
    subject: str
    journeys: tuple[Journey, ...]
    more: bool
    places: tuple[str, ...]
    unreachable: tuple[str, ...]
    gaps: tuple[str, ...]


def written_ms(event_id: str) -> int | None:
    """Return the time in a UUIDv7, in milliseconds since 1970; None for another id."""
    # An operator may type any text, and a publisher of another release may make other ids.
    digits = event_id.replace("-", "")
    if len(digits) != _UUID_DIGITS or digits[12] != "7":
        return None
    try:
        return int(digits[:12], 16)
    except ValueError:
        return None


def event_in_row(row: FoundRow) -> EventSummary:
    """Return the event of an outbox row."""
    attributes = dict(_attributes(row.context))
    replay = attributes.pop(REPLAY, None)
    return EventSummary(
        backfill=attributes.pop(BACKFILL, False) is True,
        replay=None if replay is None else str(replay),
        id=row.event_id,
        model=row.partition.model,
        partition=row.partition.name,
        signal=row.signal,
        subject=row.subject,
        time=row.time,
        source=row.source,
        sequence=row.number,
        causation=row.causation,
        context=attributes,
        traceparent=row.traceparent,
        to=row.to,
    )


def event_in_stream(envelope: Envelope, partition: Partition) -> EventSummary:
    """Return the event of a stream's entry, or of a letter."""
    return EventSummary(
        id=envelope.id,
        model=partition.model,
        partition=partition.name,
        signal=envelope.signal,
        subject=envelope.subject,
        time=envelope.time,
        source=envelope.source,
        sequence=envelope.sequence,
        causation=envelope.causation,
        context=dict(envelope.context),
        traceparent=envelope.traceparent,
        to=envelope.to,
        backfill=envelope.backfill,
        replay=envelope.replay,
    )


def stage_of(*, is_pending: bool, is_placed: bool, is_complete: bool) -> Stage:
    """Return how far an event of the outbox is.

    Args:
        is_pending: whether its id is pending.
        is_placed: whether its id is in a chunk that is not confirmed.
        is_complete: whether all such chunks were looked at.
    """
    # Only a chunk that was looked for in vain is finished: the ledger forgets confirmed chunks.
    if is_pending:
        return Stage.PENDING
    return Stage.PUBLISHED if is_placed or not is_complete else Stage.CONFIRMED


def group_stage(entry: EntryId, group: GroupAtEntry) -> GroupStage:
    """Return how far a group is with an entry."""
    # First: the position of a group passes entries that receivers have not finished.
    if group.reader:
        return GroupStage.UNFINISHED
    return GroupStage.UNREAD if group.position < entry else GroupStage.SETTLED


def group_journey(
    event_id: str,
    entry: EntryId,
    group: GroupAtEntry,
    *,
    holder: str = "",
    unread: int | None = None,
    paused: bool = False,
) -> GroupJourney:
    """Return how far a group is with an event.

    Args:
        event_id: the event; notes about another event in the same entry do not count.
        entry: the entry of the event.
        group: the group at the entry.
        holder: the tenure that has the stream.
        unread: events that the group has not read.
        paused: whether the group is paused.
    """
    # A note that came after the end of its entry says nothing any more.
    notes = unpack_notes(event_id, group.notes) if group.reader else {}
    receivers = (
        ReceiverState(
            receiver=name,
            attempts=note.attempts,
            done=note.done,
            put_aside=note.kept,
            due=datetime.fromtimestamp(note.due, UTC) if note.due and not note.done else None,
            reason=note.reason,
        )
        for name, note in sorted(notes.items())
    )
    return GroupJourney(
        group=group.group,
        stage=group_stage(entry, group),
        owner=worker_of(holder),
        reader=worker_of(group.reader),
        deliveries=group.deliveries,
        receivers=tuple(receivers),
        unread=unread,
        paused=paused,
    )


def absent_group(name: str) -> GroupAtEntry:
    """Return a group that the stream does not have at an entry: the group has read nothing."""
    return GroupAtEntry(name, START, reader="", deliveries=0, notes=None)


def in_order(journeys: Sequence[Journey]) -> tuple[Journey, ...]:
    """Return events of a row, newest last."""
    # The sequence rises from event to event of the row, whatever the clocks of the writers say.
    return tuple(sorted(journeys, key=lambda each: (each.event.sequence or 0, each.event.time)))


def _attributes(text: str | None) -> Mapping[str, ContextValue]:
    # An operator may have edited the column.
    try:
        context = loads(text) if text else {}
    except EventError:
        return {}
    return context if isinstance(context, dict) else {}
