"""The values that brokers take and return. All of them are immutable, but `Confirmed`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from edgy_bus.events import Partition


class EntryId(NamedTuple):
    """Number an entry of a stream: milliseconds and a counter, as Redis Streams number entries."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Return the id that `text` spells as `MS-SEQ`."""
        raw = text if isinstance(text, bytes) else text.encode()
        ms, _, seq = raw.partition(b"-")
        # The same as `cls(…)` at a third of the cost: the broker parses an id for every event.
        return tuple.__new__(cls, (int(ms), int(seq or 0)))

    @property
    def next(self) -> "EntryId":
        """Return the smallest id after this id."""
        return EntryId(self.ms, self.seq + 1)

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


START = EntryId(0, 0)
"""The id below every entry."""


# The event id is part of the head, because a stream that lost its tail gives the same entry ids to
# other events: the entry id alone does not identify an entry.
@dataclass(frozen=True, slots=True)
class StreamHead:
    """Describe where a stream stands: its epoch, its newest entry and the event in that entry."""

    epoch: str = ""
    entry: EntryId = START
    event_id: str = ""


class Landmark(NamedTuple):
    """Identify the event of an entry: its id, and its header as published (empty if missing)."""

    entry: EntryId
    event_id: str
    header: bytes = b""


@dataclass(frozen=True, slots=True)
class StreamState:
    """Describe a stream as seen from a publisher's head.

    `behind` contains the first entries after that head, in order. If the epoch is not the
    publisher's epoch, `behind` contains the first entries of the whole stream.
    `Publishing.landmarks` returns the entries that follow.
    """

    epoch: str
    newest: Landmark | None
    behind: Sequence[Landmark]

    @property
    def complete(self) -> bool:
        """Whether `behind` reaches the newest entry."""
        return self.newest is None or not self.behind or self.behind[-1].entry >= self.newest.entry

    @property
    def head(self) -> StreamHead:
        """Return the head of the stream."""
        if self.newest is None:
            return StreamHead(self.epoch)
        return StreamHead(self.epoch, self.newest.entry, self.newest.event_id)


@dataclass(slots=True)
class Confirmed:
    """Remember the last write of a tenure that the broker has confirmed.

    The broker numbers the writes of a group. An older copy of the broker's data has a lower number
    than the tenure knows, and refuses the tenure: its next write would put newer state beside what
    the copy has lost, and a receiver would get the older events last.
    """

    write: int = 0

    def learn(self, write: int) -> None:
        """Take note of a confirmed write; answers may come in any order."""
        self.write = max(self.write, write)


@dataclass(frozen=True, slots=True)
class Lease:
    """Grant one owner the work on a partition in a role, for a limited time.

    `token` rises from tenure to tenure. `former` is the owner of the tenure before, empty if
    unknown. The lease ends with the stream's `epoch`: another epoch
    may give the same entry id to another event. `confirmed` remembers what the broker has confirmed
    in this tenure.
    """

    partition: Partition
    role: str
    owner: str
    token: int
    epoch: str
    former: str = ""
    confirmed: Confirmed = field(default_factory=Confirmed, compare=False, repr=False)

    @property
    def group(self) -> str:
        """Return the group, also of the lease of a receiver that is set aside."""
        return self.role.partition("/")[0]

    @property
    def receiver(self) -> str:
        """Return the receiver whose own group the lease is for; empty for the group of all."""
        return self.role.partition("/")[2]

    @property
    def holder(self) -> str:
        """Return a name that belongs to this tenure alone, also as a consumer of the group."""
        # The owner's name would not be enough: the same worker may hold the lease twice, with a
        # tenure of another worker in between.
        return f"{self.token}.{self.owner}"


class Entry(NamedTuple):
    """Hold an entry of a stream as a fetch returned it.

    `notes` are the notes of the former owner, and `kept` the receivers for which the event was put
    aside. `deliveries` counts the tenures that had the entry
    in hand, including the current tenure.
    """

    id: EntryId
    fields: Mapping[bytes, bytes]
    notes: bytes | None = None
    deliveries: int = 1
    kept: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """Hold the result of a fetch.

    `inherited`: former owners left the entries unfinished, and more of such entries may follow.
    `more`: the read did not come to the end of the stream, as far as the broker knows. Without
    entries: the receiver is to come back, and its own group reads no further until then.
    `position` is the id up to which the group has read, for `Bell.wait`; after inherited entries,
    the id up to which entries were taken over. `missing` are entries that former owners left
    unfinished and that the stream no longer has. `ended`: the receiver whose own group was read is
    set aside no more, or comes back as soon as its lease is free.
    """

    entries: Sequence[Entry]
    inherited: bool
    position: EntryId
    missing: Sequence[EntryId] = ()
    ended: bool = False
    more: bool = False


class Kept(NamedTuple):
    """Prove that an event is kept for a receiver: as a dead letter, or parked behind a held row.

    Every later step that depends on the kept event names this proof. A broker without the proof
    was rolled back and has lost the event.
    """

    entry: EntryId
    receiver: str
    event_id: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Hold an event that a receiver could not handle: the raw bytes and the reason."""

    entry: EntryId
    receiver: str
    reason: str
    attempts: int
    fields: Mapping[bytes, bytes]

    @property
    def kept(self) -> Kept:
        """Return the proof that this letter was kept."""
        return Kept(self.entry, self.receiver, self.fields.get(b"id", b""))


class Buried(NamedTuple):
    """Hold a dead letter with its id, which begins with the time of its burial, and its size.

    `size` counts the bytes of the letter's event, also where `letter` lacks the data.
    """

    id: EntryId
    letter: DeadLetter
    size: int


# For each stream: a limit over all streams of a group would need a step over all of their keys.
class LetterLimits(NamedTuple):
    """Say which dead letters a group keeps of a stream. None: all.

    Attributes:
        seconds: the age up to which letters are kept.
        most: the number of letters that are kept, the newest.
    """

    seconds: float | None = None
    most: int | None = None


EVERY_LETTER = LetterLimits()
"""Operators alone remove letters."""


class LetterPage(NamedTuple):
    """Hold some dead letters in order, and whether letters follow."""

    letters: Sequence[Buried]
    more: bool


class RowKey(NamedTuple):
    """Name a row as one receiver of a group sees the row."""

    receiver: str
    subject: str

    def __str__(self) -> str:
        return f"{self.receiver}\0{self.subject}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that `str` wrote."""
        receiver, _, subject = text.partition("\0")
        return cls(receiver, subject)


class HeldState(NamedTuple):
    """Describe a held row: the row waits for a decision, or its parked events are retried in order.

    `attempts` counts the calls that began for the first parked event.
    """

    retrying: bool = False
    attempts: int = 0

    def __str__(self) -> str:
        return f"retry {self.attempts}" if self.retrying else "held"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the state that `str` wrote."""
        verdict, _, attempts = text.partition(" ")
        # Nobody decided about a row whose state another program has overwritten: it stays held.
        return cls(verdict == "retry", int(attempts) if attempts.isdecimal() else 0)


@dataclass(frozen=True, slots=True)
class Parked:
    """Hold a parked event of a held row. `id` orders the parked events of the row.

    `replayed`: the event was a dead letter, which an operator replays. It becomes a dead letter
    again if its receiver gives it up again.
    """

    id: EntryId
    letter: DeadLetter
    replayed: bool = False

    @property
    def event_id(self) -> bytes:
        """Return the id of the parked event."""
        return self.letter.fields.get(b"id", b"")


@dataclass(frozen=True, slots=True)
class Backlog:
    """Count the entries of a group that are unread, and those that are read and unfinished.

    `unread` is None where the broker cannot count.
    """

    group: str
    unfinished: int
    unread: int | None
    dead: int


class Pause(NamedTuple):
    """Tell that the workers of a group begin no call, of all receivers or of one, and until when.

    `until` is in seconds since 1970 by the broker's clock; None: until an operator ends the pause.
    `note` says who paused the group or the receiver, and why.
    """

    until: float | None
    note: str


class Trip(NamedTuple):
    """Tell that the breaker of a receiver has opened, and that no call has succeeded since.

    Attributes:
        remaining: seconds until the breaker is half-open, by the broker's clock; 0 if it is.
        age: seconds since the breaker opened for the first time after the last success.
        step: how often the breaker has opened since the last success.
        reason: the error of the call that opened the breaker.
    """

    remaining: float
    age: float
    step: int
    reason: str

    @property
    def is_open(self) -> bool:
        """Return whether no worker calls the receiver."""
        return self.remaining > 0


@dataclass(frozen=True, slots=True)
class Presence:
    """Say that a worker of a group is alive. An empty report leaves the last in place."""

    group: str
    worker: str
    report: bytes


@dataclass(frozen=True, slots=True)
class Members:
    """List the live workers of a group, and the last report of every worker seen lately.

    The names are text of any program that may write to the broker. `nudge` changes with each call
    of `Administration.nudge`, and `roster` is the version of the group's roster; only workers
    receive these values. `pause`: an operator has paused the group. `paused`: the receivers that
    operators have paused, by name. `tripped`: the receivers whose breakers have opened.
    """

    alive: Sequence[str]
    reports: Mapping[str, bytes] = field(default_factory=dict)
    nudge: str = ""
    roster: str = ""
    pause: Pause | None = None
    paused: Mapping[str, Pause] = field(default_factory=dict)
    tripped: Mapping[str, Trip] = field(default_factory=dict)


class Protocol(NamedTuple):
    """The version of what programs write to a broker, and the oldest version that may take part."""

    version: int
    oldest: int
