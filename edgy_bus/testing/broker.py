"""The broker of a test: in memory, with a clock in the test's hands and a way back in time."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from edgy_bus.brokers.base import NOBODY, DeadLetter, EntryId, Kept, Lease, StreamHead
from edgy_bus.brokers.base.relays import RELAY
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.memory.state import Attendance, Group, Stream
from edgy_bus.codec import Envelope, Wire, loads, pack, unpack
from edgy_bus.errors import EventError
from edgy_bus.events import PRE, Event, Partition
from edgy_bus.runtime.jobs import NOTHING
from edgy_bus.runtime.outcome import Note, pack_notes, unpack_notes
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signing import Signer

FROZEN = 3_600.0
"""Seconds that are added to every wait of a receiver, so that none ends before the test says so."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A receiver's turn at an entry that the receiver has not finished.

    Attributes:
        subscription: the receiver.
        envelope: the event.
        note: the state of the receiver after its earlier calls.
        after: seconds, by the clock of the test, until the next call; 0 if nothing has to pass.
    """

    subscription: Subscription
    envelope: Envelope
    note: Note
    after: float

    @property
    def lane(self) -> tuple[str, str]:
        """Return the lane of this turn: the receiver, and its row or the event alone."""
        in_order = self.subscription.receiver.options.ordered and self.envelope.subject is not None
        row = self.envelope.subject if in_order else f"event {self.envelope.id}"
        return self.subscription.name, str(row)


class InlineBroker(MemoryBroker):
    """Record published events, and keep the time of the test.

    Attributes:
        published: every event that was appended, oldest first.
        changed: set when an entry was read, settled or noted.
        passed: seconds that the test has let pass.
    """

    def __init__(self) -> None:
        self.passed = 0.0
        began = time.time()
        super().__init__(lambda: began + self.passed)
        self.published: list[Event] = []
        self.changed = asyncio.Event()

    # Publishing

    async def publish(
        self, partition: Partition, head: StreamHead, chunk: Sequence[Wire]
    ) -> list[EntryId] | None:
        entries = await super().publish(partition, head, chunk)
        if entries is not None:
            self._record(chunk)
        return entries

    async def announce(self, partition: Partition, events: Sequence[Wire], keep: int) -> int:
        self._record(events)
        return await super().announce(partition, events, keep)

    def _record(self, wires: Sequence[Wire]) -> None:
        for wire in wires:
            self.published.append(unpack({b"head": wire.header, b"data": wire.data}).open())

    async def declared(self) -> Mapping[str, int]:
        # One more than the publisher uses: an entry that a test adds to a stream of an outbox would
        # look as if the database had been restored from a backup.
        return {model: number + 1 for model, number in self._models.items()}

    async def deliver(self, event: Event, signer: Signer | None) -> None:
        """Append an event of a declared model, as if its publisher had done so."""
        # Beside the streams of the outbox: see `declared`.
        is_intent = event.signal.startswith("pre_")
        name = PRE if is_intent else str(self._models[event.model])
        partition, wire = Partition(event.model, name), pack(event)
        if signer is not None:
            signature = signer.sign(partition, wire.id.encode(), wire.header, wire.data)
            wire = wire._replace(signature=signature)
        await self._append(self._streams[partition], [wire])

    # Consuming

    async def settle(
        self,
        lease: Lease,
        entries: Sequence[EntryId],
        kept: Sequence[Kept] = (),
        left_out: Mapping[str, EntryId] = NOBODY,
    ) -> None:
        await super().settle(lease, entries, kept, left_out)
        self.changed.set()

    async def note(
        self,
        lease: Lease,
        notes: Mapping[EntryId, bytes],
        kept: Sequence[Kept] = (),
        *,
        number: int = 0,
    ) -> None:
        _, group = self._owned(lease)
        timed = {entry: self._timed(raw, group.notes.get(entry)) for entry, raw in notes.items()}
        await super().note(lease, timed, kept, number=number)
        self.changed.set()

    def _timed(self, raw: bytes, before: bytes | None) -> bytes:
        """Return the notes of an entry, with times by the clock of the test."""
        event_id = loads(raw)[0]
        former, notes = unpack_notes(event_id, before), unpack_notes(event_id, raw)
        for name, note in notes.items():
            if note.due:
                old = former.get(name, NOTHING)
                # A call that waits is not made again before `make_due` has changed its note.
                is_same = old.due and (old.attempts, old.wait) == (note.attempts, note.wait)
                due = old.due if is_same else self._clock() + note.wait
                notes[name] = replace(note, due=due)
        return pack_notes(event_id, notes)

    def turns(self, subscriptions: Sequence[Subscription]) -> Iterator[Turn]:
        """Yield the turns that are not finished, of all groups, oldest first in each stream."""
        for partition, stream in self._streams.items():
            concerned = [each for each in subscriptions if each.model == partition.model]
            for name in {each.group for each in concerned}:
                group = stream.groups.get(name, Group())
                unread = [entry for entry in stream.entries if entry > group.position]
                for entry in (*sorted(group.pending), *unread):
                    if entry in stream.entries:
                        ours = [each for each in concerned if each.group == name]
                        yield from self._turns_at(
                            stream.entries[entry], group.notes.get(entry), ours
                        )

    def _turns_at(
        self, fields: Mapping[bytes, bytes], raw: bytes | None, concerned: Sequence[Subscription]
    ) -> Iterator[Turn]:
        try:
            envelope = unpack(fields)
        except EventError:
            return
        notes = unpack_notes(envelope.id, raw)
        for subscription in concerned:
            note = notes.get(subscription.name, NOTHING)
            if subscription.signal != envelope.signal or note.done:
                continue
            yield Turn(subscription, envelope, note, self._until(note))

    def given_up(self) -> Iterator[tuple[DeadLetter, bool]]:
        """Yield the dead letters, and the parked events of held rows with True."""
        for group in self._groups():
            yield from ((letter, False) for letter in group.dead.values())
            for parked in group.parked.values():
                yield from ((each.letter, True) for each in parked)

    def make_due(self) -> None:
        """Let the waits end that are over by the clock of the test."""
        for group in self._groups():
            for entry, raw in group.notes.items():
                event_id = loads(raw)[0]
                notes = unpack_notes(event_id, raw)
                for name, note in notes.items():
                    if note.due and not self._until(note):
                        notes[name] = replace(note, due=0.0, wait=0.0)
                group.notes[entry] = pack_notes(event_id, notes)

    def _until(self, note: Note) -> float:
        """Return the seconds that have to pass until a call is due."""
        # A float of the time since 1970 knows no nanoseconds.
        return round(max(0.0, note.due - FROZEN - self._clock()), 3) if note.due else 0.0

    def _groups(self) -> Iterator[Group]:
        for stream in self._streams.values():
            yield from stream.groups.values()

    # Going back

    def remember(self) -> "Memento":
        """Return the progress of all groups: entries read, finished and put aside."""
        return Memento(
            deepcopy({name: _progress(stream) for name, stream in self._streams.items()}),
            deepcopy((self._rosters, self._roster_versions)),
        )

    def go_back(self, memento: "Memento") -> None:
        """Forget the progress of groups since then, as when their workers die. Events stay."""
        former = deepcopy(memento)
        for partition, stream in self._streams.items():
            groups, attendances = former.streams.get(partition, ({}, defaultdict(Attendance)))
            stream.groups, stream.attendances = groups, attendances
        self._rosters, self._roster_versions = former.rosters

    def forget_workers(self) -> None:
        """End the leases and memberships of workers that have ended without a word."""
        self._workers.clear()
        for partition, stream in self._streams.items():
            # The relay of the test goes on.
            if partition.model != RELAY:
                stream.leases.clear()


_Progress = tuple[dict[str, Group], dict[str, Attendance]]


@dataclass(frozen=True, slots=True)
class Memento:
    """Hold the progress of all groups at a moment."""

    streams: Mapping[Partition, _Progress]
    rosters: Any


def _progress(stream: Stream) -> _Progress:
    return stream.groups, stream.attendances
