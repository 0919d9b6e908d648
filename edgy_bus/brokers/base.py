"""What the outbox and the runtime ask of a broker. Imports nothing concrete.

Two groups of methods keep the promises, and every broker must make each of them one atomic step:

- publishing: `publish` appends only where the stream stands where the caller believes it stands; `inspect` tells where it
  stands. No lease is needed for safety.
- consuming: `fetch`, `settle`, `note` and `bury` check the lease in the same step in which they act.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from edgy_bus.codec import Wire
from edgy_bus.events import Partition


class EntryId(NamedTuple):
    """The place of an entry in its stream: milliseconds and a counter, as Redis Streams number them."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        ms, _, seq = (text if isinstance(text, bytes) else text.encode()).partition(b"-")
        return tuple.__new__(
            cls, (int(ms), int(seq or 0))
        )  # what `cls(…)` does, at a third of the price

    @property
    def next(self) -> "EntryId":
        """The first place after it."""
        return EntryId(self.ms, self.seq + 1)

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


START = EntryId(0, 0)
"""Below every entry."""

PAGE = 5_000
"""Landmarks in one answer: a script of a few milliseconds."""


@dataclass(frozen=True, slots=True)
class StreamHead:
    """What a publisher believes to be the newest entry of a stream, and the epoch in which it believes it."""

    epoch: str = ""
    entry: EntryId = START
    event_id: str = ""


class Landmark(NamedTuple):
    """An entry of a stream, the id of the event in it, and the event's head as it was published, if it has one."""

    entry: EntryId
    event_id: str
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream stands, seen from a publisher's head.

    `behind` are the first entries after that head, in order; if the epoch is not the publisher's, the first of the whole stream. What
    follows them is asked for with `Broker.landmarks`.
    """

    epoch: str
    newest: Landmark | None
    behind: Sequence[Landmark]

    @property
    def complete(self) -> bool:
        """Whether `behind` is all that there is."""
        return self.newest is None or not self.behind or self.behind[-1].entry >= self.newest.entry

    @property
    def head(self) -> StreamHead:
        if self.newest is None:
            return StreamHead(self.epoch)
        return StreamHead(self.epoch, self.newest.entry, self.newest.event_id)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a place in a role for a while. `token` rises from holder to holder.

    It ends with the stream's `epoch`: an entry's number means one event within an epoch, and perhaps another one after it.
    """

    partition: Partition
    role: str
    owner: str
    token: int
    epoch: str

    @property
    def holder(self) -> str:
        """Names this tenure and no other, also in a consumer group."""
        return f"{self.token}.{self.owner}"


class Entry(NamedTuple):
    """An entry of a stream as it was read.

    `notes` is what an earlier owner left with `note`. `deliveries` counts the tenures that have had it in hand, this one included.
    """

    id: EntryId
    fields: Mapping[bytes, bytes]
    notes: bytes | None = None
    deliveries: int = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought.

    `inherited`: the entries were left unfinished by former owners, and there may be more of them. `position` is the id up to which the
    group has read, for `wait`. `missing`: entries that former owners left unfinished and that are gone from the stream.
    """

    entries: Sequence[Entry]
    inherited: bool
    position: EntryId
    missing: Sequence[EntryId] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a receiver could not handle, with its raw bytes and the reason."""

    entry: EntryId
    receiver: str
    reason: str
    attempts: int
    fields: Mapping[bytes, bytes]

    @property
    def kept(self) -> "Kept":
        return Kept(self.entry, self.receiver, self.fields.get(b"id", b""))


class Kept(NamedTuple):
    """That an event was put aside for a receiver, in the dead letters or behind a held row.

    Whoever builds on it says so to the broker: one that does not know of it was rolled back, and has lost the event.
    """

    entry: EntryId
    receiver: str
    event_id: bytes


class RowKey(NamedTuple):
    """A row as one receiver of a group sees it."""

    receiver: str
    subject: str

    def __str__(self) -> str:
        return f"{self.receiver}\0{self.subject}"

    @classmethod
    def parse(cls, text: str) -> Self:
        receiver, _, subject = text.partition("\0")
        return cls(receiver, subject)


class HeldState(NamedTuple):
    """What is to become of a held row: it waits until somebody decides, or its parked events are handled one after another.

    `attempts` have been begun at the first of them.
    """

    retrying: bool = False
    attempts: int = 0

    def __str__(self) -> str:
        return f"retry {self.attempts}" if self.retrying else "held"

    @classmethod
    def parse(cls, text: str) -> Self:
        verdict, _, attempts = text.partition(" ")
        return cls(verdict == "retry", int(attempts or 0))


@dataclass(frozen=True, slots=True)
class Parked:
    """An event of a held row. `id` is its place among those of its row."""

    id: EntryId
    letter: DeadLetter

    @property
    def event_id(self) -> bytes:
        return self.letter.fields.get(b"id", b"")


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far a group is: `lag` entries not yet read, `pending` read and not finished. None where the broker cannot tell."""

    group: str
    pending: int
    lag: int | None
    dead: int


@dataclass(frozen=True, slots=True)
class Members:
    """The workers of a group: those alive, and the last report of every one heard of lately."""

    alive: Sequence[str]
    reports: Mapping[str, bytes] = field(default_factory=dict)


class Protocol(NamedTuple):
    """The version of what programs write to a broker, and the oldest that may take part."""

    version: int
    oldest: int


class Bell(ABC):
    """Waits for news on streams; one caller at a time."""

    @abstractmethod
    async def wait(self, positions: Mapping[Partition, EntryId], timeout: float) -> set[Partition]:
        """The partitions that hold entries after their position; empty after `timeout` seconds or an `interrupt`."""

    @abstractmethod
    async def interrupt(self) -> None:
        """Make a `wait` in progress return."""

    @abstractmethod
    async def close(self) -> None: ...


class Broker(ABC):
    """A store of streams. Every method may raise `BrokerUnavailable`, after which nothing is known of the call's effect."""

    @abstractmethod
    async def connect(self) -> None:
        """Check that the broker answers and is fit for use. Raises `BrokerUnavailable`, or `BrokerError` if it never will be."""

    @abstractmethod
    async def close(self) -> None: ...

    # Streams

    @abstractmethod
    async def keep_protocol(self, protocol: Protocol) -> Protocol:
        """Keep the greater version and the greater oldest of a program and of those before it; return them."""

    @abstractmethod
    async def declare(self, model: str, partitions: int) -> int:
        """Make known how many partitions a model has; answers the number that holds, which is that of the first to declare."""

    @abstractmethod
    async def declared(self) -> Mapping[str, int]:
        """Every model made known, and its number of partitions."""

    # Publishing

    @abstractmethod
    async def publish(
        self, partition: Partition, head: StreamHead, batch: Sequence[Wire]
    ) -> list[EntryId] | None:
        """Append the batch if the stream stands at `head`; otherwise append nothing and answer None."""

    @abstractmethod
    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        """Where the stream stands; gives it `fresh_epoch` if it has none, or if it does not hold `head` any more, of the same epoch.

        A stream that lost its tail gives the same numbers out again, to other events. So nothing is appended behind a loss
        in the epoch in which it happened. Answers up to `count` landmarks.
        """

    @abstractmethod
    async def landmarks(
        self, partition: Partition, newest: StreamHead, after: EntryId, count: int = PAGE
    ) -> Sequence[Landmark] | None:
        """The next entries after one, up to `newest`; None if the stream is not the one any more that has `newest`.

        While it holds that, nothing below can have changed, but that it was trimmed.
        """

    @abstractmethod
    async def announce(self, partition: Partition, batch: Sequence[Wire], keep: int) -> None:
        """Append without any promise, keeping about the last `keep` entries."""

    @abstractmethod
    async def progress(self, partition: Partition, head: StreamHead) -> Mapping[str, EntryId]:
        """For every group of the stream the place below which it has finished everything: its least unfinished entry, or the place after
        the last one that it has read. Nothing if the stream does not hold `head`: it is another one then, whose entries mean something else.
        """

    @abstractmethod
    async def trim(self, partition: Partition, head: StreamHead, below: EntryId) -> int:
        """Remove the entries below, if the stream still holds `head`; answers how many.

        A stream that was lost and begun again may have given smaller ids out, if the server's clock went back.
        """

    # Leases

    @abstractmethod
    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        """Take the lease if nobody holds it."""

    @abstractmethod
    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Hold it for `ttl` more seconds; False if it is held no longer. Works on a broker that is full."""

    async def renew_all(
        self, leases: Sequence[Lease], ttl: float
    ) -> Sequence[bool | BaseException]:
        """What `renew` answers or raises for each of them. Raises `BrokerUnavailable` if nothing is known about any."""
        return await asyncio.gather(
            *(self.renew(lease, ttl) for lease in leases), return_exceptions=True
        )

    @abstractmethod
    async def release(self, lease: Lease) -> None: ...

    # Consuming: a lease's role is the group

    @abstractmethod
    async def fetch(self, lease: Lease, count: int, *, inherit: bool) -> Fetched:
        """Read up to `count` entries for the lease's group, which is created at the start of the stream if it is not there.

        With `inherit`, what former owners left unfinished comes first, oldest first, and nothing new before that is done.
        Raises `LeaseLost`, also if there is something that former owners left without `inherit`: a broker that was rolled back.
        """

    @abstractmethod
    async def settle(
        self, lease: Lease, entries: Sequence[EntryId], kept: Sequence[Kept] = ()
    ) -> None:
        """The group is done with these entries, because of what was `kept` among others. Works on a broker that is full.

        Raises `LeaseLost`, also if an entry is unfinished and the broker does not know that it was kept.
        """

    @abstractmethod
    async def note(
        self, lease: Lease, notes: Mapping[EntryId, bytes], kept: Sequence[Kept] = ()
    ) -> None:
        """Keep something about entries for whoever owns them next. Raises `LeaseLost`, also if the broker does not know what was `kept`."""

    @abstractmethod
    async def bury(
        self, lease: Lease, letter: DeadLetter, notes: bytes, kept: Sequence[Kept] = ()
    ) -> None:
        """Keep a dead letter, and the notes that say so, in one step; if it is kept already, nothing. `kept` and raised is as for `note`."""

    @abstractmethod
    async def dead_letters(
        self, partition: Partition, group: str, count: int = 100
    ) -> list[DeadLetter]: ...

    # Held rows: events that were given up, and the later ones of their rows, wait until somebody decides

    @abstractmethod
    async def park(
        self,
        lease: Lease,
        row: RowKey,
        letter: DeadLetter,
        notes: bytes,
        kept: Sequence[Kept] = (),
        *,
        begin: bool,
        after: EntryId,
    ) -> EntryId | None:
        """Put an event behind the row's parked ones, with the notes that say so, in one step; if it is kept already, nothing.

        With `begin` the row is held from now on; without, nothing is done, and the answer is None, if it is not held. `after` is where the last
        of the parked ones was put, `START` for none; answers where this one was put. Raises `LeaseLost`, also if `after` is not the last,
        or what was `kept` is not known: a broker that was rolled back has lost some, which will come again, and have to be parked before this one.
        """

    @abstractmethod
    async def tails(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, EntryId]:
        """Where the last of each row's parked events was put, of those rows that have any."""

    @abstractmethod
    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        """The rows that are held."""

    @abstractmethod
    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        """A row's first parked events."""

    @abstractmethod
    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        """Change a held row's state. Raises `LeaseLost`."""

    @abstractmethod
    async def unpark(self, lease: Lease, row: RowKey, first: Parked) -> bool:
        """A row's first parked event is finished; whether more are parked. Without, the row is held no more. Raises `LeaseLost`.

        Attempts are counted anew for the next one. A `first` that is gone already, or whose number belongs to another event now
        because the broker has lost its data, changes nothing.
        """

    @abstractmethod
    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        """Let a held row's parked events be handled; with `skip`, after its first one has gone to the dead letters. False if it does not wait."""

    @abstractmethod
    def bell(self) -> Bell: ...

    # Groups

    @abstractmethod
    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        """Say that a worker is alive for `ttl` more seconds, with a report about itself."""

    @abstractmethod
    async def leave(self, group: str, worker: str) -> None: ...

    @abstractmethod
    async def members(self, group: str) -> Members: ...

    @abstractmethod
    async def backlog(self, partition: Partition) -> list[Backlog]:
        """How far every group of a stream is."""

    @abstractmethod
    async def forget(self, partition: Partition, group: str) -> None:
        """Remove a group from a stream, with what it knew of entries; its dead letters stay."""

    @abstractmethod
    async def erase(self) -> None:
        """Remove everything that this broker's prefix names. For tests and demonstrations."""
