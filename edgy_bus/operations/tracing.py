"""Trace an event or a row: look into the outboxes and at the broker, and join what they know."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from edgy_bus.brokers.base import START, Broker, EntryId, EntrySurvey, StreamSurvey
from edgy_bus.events import Partition, partition_name
from edgy_bus.operations.journeys import (
    EventSummary,
    EventTrace,
    GroupJourney,
    Journey,
    OutboxPlace,
    RowTrace,
    Stage,
    StreamPlace,
    absent_group,
    event_in_row,
    group_journey,
    in_order,
    stage_of,
    written_ms,
)
from edgy_bus.operations.looking import BROKER, Look
from edgy_bus.operations.parts import Parts, outbox_name
from edgy_bus.operations.sightings import (
    ALL_ENTRIES,
    STREAM_ENTRIES,
    SideEvents,
    Wanted,
    entry_before,
    newest_of_row,
    search_all,
    side_events,
)
from edgy_bus.operations.surveys import streams_of, surveyed
from edgy_bus.outbox.store import FoundRow, OutboxStore

MARGIN = 60_000
"""Milliseconds by which the clocks of writers, databases and the broker may differ."""

MOST_CAUSED = 100
"""Caused events of an outbox that are shown."""


@dataclass(slots=True)
class _Sighting:
    """An event, and where it was met so far."""

    event: EventSummary
    outbox: OutboxPlace | None = None
    entry: EntryId | None = None


@dataclass(slots=True)
class _EventTracing:
    """The state of a trace of an event."""

    # Each place adds to the state, so that the places before a failure count.

    event_id: str
    with_payload: bool
    look: Look
    sighting: _Sighting | None = None
    journey: Journey | None = None
    payload: str | None = None
    groups: set[str] = field(default_factory=set)
    caused: dict[str, EventSummary] = field(default_factory=dict)

    @property
    def since(self) -> int | None:
        """Return a time before the event, in milliseconds since 1970; None if unknown."""
        ms = written_ms(self.event_id)
        return None if ms is None else ms - MARGIN

    async def look_into(self, store: OutboxStore) -> None:
        """Look for the event and for its effects in an outbox."""
        outbox = store.searching
        event = await outbox.find(self.event_id, written_ms(self.event_id))
        for sighting in await _placed(store, event.rows, self.look):
            self.sighting = sighting
            self.journey = Journey(sighting.event, sighting.outbox)
            self.groups = (await store.groups()).get(sighting.event.model, set())
            if self.with_payload and sighting.outbox is not None:
                self.payload = await outbox.data(sighting.outbox.number)
        # Also without the event: its row may be pruned, or belong to another service.
        caused = await outbox.caused_by(self.event_id, self.since, MOST_CAUSED)
        self.caused |= {row.event_id: event_in_row(row) for row in caused.rows}
        name = f"outbox {outbox_name(store)}"
        if not event.is_complete:
            self.look.missed(f"{name}: rows far from the time of the event were not looked at")
        if not caused.is_complete:
            self.look.missed(f"{name}: the event may have caused more than is shown")

    async def look_at(self, broker: Broker) -> None:
        """Look for the event and for its effects at the broker."""
        await self._search(broker)
        event = None if self.sighting is None else self.sighting.event
        # Letters and parked events outlive outbox and stream, and may be on any stream then.
        streams = (
            [stream async for stream in surveyed(broker, await broker.declared())]
            if event is None
            else await broker.survey([event.stream])
        )
        wanted = Wanted(self.event_id, None if event is None else event.subject)
        # No receiver gives an event up before the event is written.
        side = await side_events(broker, streams, entry_before(self.since), wanted)
        self.look.missed(*side.gaps)
        if event is None:
            events = [each for each, _ in (*side.letters, *side.parked)]
            self.sighting = _Sighting(events[0]) if events else None
        if self.sighting is not None:
            joining = _Joining(
                broker, streams, side, groups=self.groups, with_data=self.with_payload
            )
            self.journey = await joining.journey(self.sighting)
            self.payload = joining.payload or self.payload
            self._explain(self.journey)

    async def _search(self, broker: Broker) -> None:
        declared = await broker.declared()
        streams = [
            each for model in sorted(declared) for each in streams_of(model, declared[model])
        ]
        if self.sighting is not None:
            # The stream of the event first: the search is bounded.
            first = self.sighting.event.stream
            streams.sort(key=lambda stream: stream != first)
        # The id stands in the header of the event, and in the headers of the events that the event
        # caused: one search meets both.
        met = await search_all(broker, streams, self.event_id, entry_before(self.since))
        for event, entry in met.events:
            if event.id == self.event_id:
                self.sighting = self.sighting or _Sighting(event)
                # What the stream has counts more than what the database believes.
                self.sighting.entry = entry
            elif event.causation == self.event_id:
                self.caused.setdefault(event.id, event)
        if not met.is_complete:
            self.look.missed(
                f"streams: the first {STREAM_ENTRIES:,} entries of a stream behind the time of the "
                f"event, and {ALL_ENTRIES:,} of all, were looked at"
            )

    def _explain(self, journey: Journey) -> None:
        """Note why a part of the journey is missing."""
        entry = journey.stream
        # Between the look into the outbox and the look at the stream, the relay may have trimmed.
        if entry is not None and not entry.present:
            self.look.missed(
                f"the stream does not have the entry {entry.entry} of the event any more: the "
                "groups have just finished it, or the stream lost it and the relay repairs it"
            )
        if self.with_payload and self.payload is None:
            self.look.missed(
                "the data of the event: neither outbox nor stream has it, and `edgy-bus dead show "
                "ID --payload` shows that of a dead letter"
            )
        if entry is None and journey.outbox is None:
            self.look.missed(
                "no entry of the event was met: streams are trimmed behind the last group"
            )


async def trace_event(
    parts: Parts, event_id: str, *, unreachable: Sequence[str] = (), payload: bool = False
) -> EventTrace:
    """Return the journey of an event, and the events that its receivers wrote.

    Only reads, and reads bounded parts of outboxes and streams. A place that does not answer is
    named in the answer, which contains the facts of the other places.

    Args:
        parts: the broker, and the outboxes whose databases are connected.
        event_id: the event.
        unreachable: the databases that could not be connected, each with the reason.
        payload: whether the data of the event is wanted, which contains values of a row.
    """
    look = Look(unreachable=list(unreachable))
    tracing = _EventTracing(event_id, payload, look)
    # Outboxes first: an event moves from there to the stream, so that no event is passed over.
    for store in parts.outboxes:
        async with look.at(f"outbox {outbox_name(store)}"):
            await tracing.look_into(store)
    async with look.at(BROKER):
        await tracing.look_at(parts.broker)
    return EventTrace(
        journey=tracing.journey,
        caused=tuple(sorted(tracing.caused.values(), key=lambda event: event.time)),
        places=tuple(look.places),
        unreachable=tuple(look.unreachable),
        gaps=tuple(look.gaps),
        payload=tracing.payload,
    )


async def trace_row(
    parts: Parts, model: str, subject: str, *, limit: int = 20, unreachable: Sequence[str] = ()
) -> RowTrace:
    """Return the journeys of the newest events of a row.

    Only reads, and reads bounded parts of outboxes and streams. Announcements (`pre_*`) are left
    out: nobody waits for them.

    Args:
        parts: the broker, and the outboxes whose databases are connected.
        model: the model with its service, `accounts.User`.
        subject: the key of the row, as text.
        limit: the most events.
        unreachable: the databases that could not be connected, each with the reason.
    """
    look = Look(unreachable=list(unreachable))
    tracing = _RowTracing(model, subject, limit, look)
    for store in parts.outboxes:
        async with look.at(f"outbox {outbox_name(store)}"):
            await tracing.look_into(store)
    async with look.at(BROKER):
        await tracing.look_at(parts.broker)
    # Several outboxes have a limit each, and letters add events.
    journeys = in_order(list(tracing.journeys.values()))
    return RowTrace(
        model=model,
        subject=subject,
        journeys=journeys[-limit:],
        more=tracing.more or len(journeys) > limit,
        places=tuple(look.places),
        unreachable=tuple(look.unreachable),
        gaps=tuple(look.gaps),
    )


@dataclass(slots=True)
class _RowTracing:
    """The state of a trace of a row."""

    model: str
    subject: str
    limit: int
    look: Look
    groups: set[str] = field(default_factory=set)
    sightings: dict[str, _Sighting] = field(default_factory=dict)
    journeys: dict[str, Journey] = field(default_factory=dict)
    more: bool = False

    async def look_into(self, store: OutboxStore) -> None:
        """Look for events of the row in an outbox."""
        newest = await store.searching.of_row(self.model, self.subject, self.limit)
        self.groups |= (await store.groups()).get(self.model, set())
        self.more = self.more or not newest.is_complete
        if not newest.is_complete and len(newest.rows) < self.limit:
            self.look.missed(f"outbox {outbox_name(store)}: older rows were not looked at")
        for sighting in await _placed(store, newest.rows, self.look):
            self.sightings[sighting.event.id] = sighting
            # The whole answer if the broker is away.
            self.journeys[sighting.event.id] = Journey(sighting.event, sighting.outbox)

    async def look_at(self, broker: Broker) -> None:
        """Look for events of the row at the broker."""
        declared = await broker.declared()
        if self.model not in declared:
            names = ", ".join(sorted(declared)) or "none"
            self.look.missed(f"the broker does not know the model {self.model}; it knows: {names}")
            return
        partition = Partition(self.model, partition_name(self.subject, "", declared[self.model]))
        # The outbox keeps events longer than the stream, unless it belongs to another service.
        if not self.sightings:
            met = await newest_of_row(broker, partition, self.subject, self.limit)
            self.more = self.more or not met.is_complete
            if not met.is_complete and len(met.events) < self.limit:
                self.look.missed(f"{partition}: older entries were not looked at")
            for event, entry in met.events:
                self.sightings[event.id] = _Sighting(event, entry=entry)
        # An event may be older than the present number of partitions.
        partitions = {partition, *(each.event.stream for each in self.sightings.values())}
        streams = await broker.survey(sorted(partitions))
        wanted = Wanted(subject=self.subject, model=self.model)
        side = await side_events(broker, streams, START, wanted)
        self.look.missed(*side.gaps)
        for event, _ in (*side.letters, *side.parked):
            self.sightings.setdefault(event.id, _Sighting(event))
        joining = _Joining(broker, streams, side, groups=self.groups)
        for sighting in self._newest():
            self.journeys[sighting.event.id] = await joining.journey(sighting)

    def _newest(self) -> Iterable[_Sighting]:
        """Return the sightings that are shown."""
        # Before their journeys are read: each costs questions to the broker.
        sightings = sorted(
            self.sightings.values(), key=lambda each: (each.event.sequence or 0, each.event.time)
        )
        self.more = self.more or len(sightings) > self.limit
        return sightings[-self.limit :]


class _Joining:
    """Joins what streams, dead letters and held rows know of events."""

    def __init__(
        self,
        broker: Broker,
        streams: Iterable[StreamSurvey],
        side: SideEvents,
        *,
        groups: Collection[str],
        with_data: bool = False,
    ) -> None:
        self.payload: str | None = None
        """The data of the last event whose entry was there, if wanted."""
        self._broker = broker
        self._surveys = {stream.partition: stream for stream in streams}
        self._side = side
        self._expected = groups
        self._with_data = with_data
        self._paused: dict[str, bool] = {}

    async def journey(self, sighting: _Sighting) -> Journey:
        """Return the journey of an event."""
        event, entry = sighting.event, sighting.entry
        place, groups = None, list[GroupJourney]()
        if entry is not None:
            at_entry = await self._broker.survey_entry(event.stream, entry, data=self._with_data)
            in_entry = at_entry.fields.get(b"id", b"").decode("utf-8", "replace")
            appended = datetime.fromtimestamp(entry.ms / 1000, UTC)
            place = StreamPlace(str(entry), appended, present=in_entry == event.id)
            # After a loss, another event may have the entry: its groups say nothing of this event.
            if in_entry in ("", event.id):
                groups = await self._groups(event, entry, at_entry)
            if place.present and self._with_data:
                self.payload = at_entry.fields.get(b"data", b"").decode("utf-8", "replace")
        outbox = sighting.outbox
        if outbox is not None and outbox.stage is Stage.PENDING and place and place.present:
            # The relay has appended the event, and its mark in the database comes next.
            outbox = replace(outbox, stage=Stage.PUBLISHED)
        return Journey(
            event=event,
            outbox=outbox,
            stream=place,
            groups=tuple(groups),
            letters=tuple(letter for of, letter in self._side.letters if of.id == event.id),
            parked=tuple(parked for of, parked in self._side.parked if of.id == event.id),
        )

    async def _groups(
        self, event: EventSummary, entry: EntryId, at_entry: EntrySurvey
    ) -> list[GroupJourney]:
        survey = self._surveys.get(event.stream)
        # Receivers that are set aside have groups of their own on the stream, with owners.
        roles = () if survey is None else (*survey.groups, *survey.asides)
        streams = {role.group: role for role in roles}
        # The database remembers the groups that a stream has lost, or that have not begun yet: they
        # begin with the oldest entry.
        present = {group.group for group in at_entry.groups}
        absent = [absent_group(name) for name in self._expected if name not in present]
        journeys = []
        for group in sorted((*at_entry.groups, *absent), key=lambda each: each.group):
            stream = streams.get(group.group)
            journeys.append(
                group_journey(
                    event.id,
                    entry,
                    group,
                    holder="" if stream is None else stream.holder,
                    unread=None if stream is None else stream.unread,
                    paused=await self._is_paused(group.group),
                )
            )
        return journeys

    async def _is_paused(self, role: str) -> bool:
        """Return whether a group is paused, or a receiver that reads in a group of its own."""
        # One question for each group, however many events are shown.
        if role not in self._paused:
            group, _, receiver = role.partition("/")
            members = await self._broker.members(group)
            self._paused[role] = members.pause is not None or receiver in members.paused
        return self._paused[role]


async def _placed(store: OutboxStore, rows: Sequence[FoundRow], look: Look) -> list[_Sighting]:
    """Return rows of an outbox with their stages, and with the entries of those in streams."""
    by_stream: Mapping[Partition, list[FoundRow]] = defaultdict(list)
    for row in rows:
        by_stream[row.partition].append(row)
    sightings = []
    for partition, events in by_stream.items():
        # A pending event has no entry in the ledger.
        numbers = [row.number for row in events if not row.is_pending]
        written = min(row.written for row in events)
        placing = await store.searching.placed(partition, numbers, written)
        if not placing.is_complete:
            look.missed(f"{partition}: some entries of events are not known, the ledger is long")
        for row in events:
            entry = placing.entries.get(row.number)
            stage: Stage = stage_of(
                is_pending=row.is_pending,
                is_placed=entry is not None,
                is_complete=placing.is_complete,
            )
            place = OutboxPlace(outbox_name(store), row.number, row.written, stage)
            sightings.append(_Sighting(event_in_row(row), place, entry))
    return sightings
