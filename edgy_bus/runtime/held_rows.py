"""Track the rows that receivers hold: a state for each row, and pure transitions between states.

A row is held after its receiver gave an event up (`on_exhausted="hold"`), until an operator has
decided and the parked events are handled::

    (free) --begin--> HELD --release--> RETRYING --begin_to_free--> FREEING --free--> FREED --+
                       ^                 |   ^                         |               |      |
                       +---hold_again----+   +---------release---------+               |      |
                       +----------------------------begin------------------------------+      |
    (free) <-----------------------------the broker agrees------------------------------------+

The broker has the truth, and this process asks for the truth once a second. An answer may be older
than a change that this tenure has made meanwhile. So each question has a number, each state
remembers the last question before the state began, and an answer counts only for states that are
older than its question.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from edgy_bus.brokers.base import START, EntryId, HeldState, RowKey


class Phase(Enum):
    """Say how far a held row is."""

    HELD = "held"
    """The row's parked events wait for a decision."""
    RETRYING = "retrying"
    """A task of this tenure handles the row's parked events."""
    FREEING = "freeing"
    """The broker is asked to take out the last parked event, and has not answered."""
    FREED = "freed"
    """This tenure has taken out the last parked event; the broker has not confirmed the end."""


class Finding(Enum):
    """Say how the broker's answer changes a row."""

    KEEP = "keep"
    """Nothing has changed, or the answer is too old to count."""
    RELEASED = "released"
    """An operator has decided: the parked events can be handled."""
    FREE = "free"
    """The row is held no more, because this tenure has freed it."""
    LOST = "lost"
    """The hold is gone, and this tenure has not freed the row: the broker was rolled back."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Describe a held row.

    Attributes:
        phase: how far the row is.
        tail: the last parked event of the row, `START` if unknown. The broker compares the tail
            before it parks another event: a broker that was rolled back has lost parked events,
            which will come again and must be parked before the event at hand.
        since: the number of the last question to the broker before the phase began.
    """

    phase: Phase
    tail: EntryId
    since: int


def begin(tail: EntryId, since: int) -> Hold:
    """Hold a row: its receiver gave an event up, which was parked at `tail`."""
    return Hold(Phase.HELD, tail, since)


def park_behind(row: Hold, tail: EntryId) -> Hold:
    """Park a later event of the row; the phase stays."""
    return replace(row, tail=tail)


def release(row: Hold, since: int) -> Hold:
    """Start to handle the parked events of the row."""
    return replace(row, phase=Phase.RETRYING, since=since)


def hold_again(row: Hold, since: int) -> Hold:
    """Stop handling the parked events: one was given up again, or no call may begin now."""
    return replace(row, phase=Phase.HELD, since=since)


def begin_to_free(row: Hold, since: int) -> Hold:
    """Ask the broker to take out the last parked event: until it answers, the row may be free."""
    return replace(row, phase=Phase.FREEING, since=since)


def free(row: Hold, since: int) -> Hold:
    """Free the row: its last parked event was taken out."""
    return replace(row, phase=Phase.FREED, since=since)


def compare(row: Hold, answer: HeldState | None, question: int) -> Finding:
    """Compare a row with the broker's answer to a question.

    Args:
        row: the row as this tenure knows it.
        answer: the row's state at the broker; None if the broker does not hold the row.
        question: the number of the question that the broker has answered.
    """
    if row.since >= question:
        # The answer may have been computed before the phase began. A row that is held only since
        # then is missing in the answer; a row that was handled or freed since then still shows the
        # operator's old decision. The next answer counts.
        return Finding.KEEP
    # Only this tenure frees rows of the partition. If the broker does not hold a row that was not
    # freed, the broker was rolled back, and has lost parked events.
    if row.phase is Phase.FREEING:
        return Finding.KEEP
    if answer is None:
        return Finding.FREE if row.phase is Phase.FREED else Finding.LOST
    if answer.retrying and row.phase is not Phase.RETRYING:
        return Finding.RELEASED
    return Finding.KEEP


@dataclass(frozen=True, slots=True)
class Findings:
    """Collect the rows about which the broker's answer contains news."""

    released: Iterable[RowKey] = ()
    lost: Iterable[RowKey] = ()


class HeldRows:
    """Keep the state of each held row of a tenure.

    Attributes:
        rows: the rows that are held, as far as this tenure knows. Later events of such a row are
            parked behind the earlier events. The broker says in the same step whether the row is
            still held, so that no event overtakes, and no event is parked behind nothing. A freed
            row stays here until the broker agrees.
    """

    def __init__(self) -> None:
        self.rows: dict[RowKey, Hold] = {}
        self._asked = 0

    def ask(self) -> int:
        """Return the number of the question that the caller asks the broker next."""
        self._asked += 1
        return self._asked

    def tail(self, key: RowKey) -> EntryId:
        """Return the last parked event of a row, `START` for a row that is not held."""
        row = self.rows.get(key)
        return START if row is None else row.tail

    def may_be_free(self, key: RowKey) -> bool:
        """Return whether this tenure has freed the row, or waits for the answer that it is free.

        Other holds that are missing were lost.
        """
        # The broker frees a row before its answer is here, and a look may forget a freed row while
        # the broker is asked to park a later event.
        row = self.rows.get(key)
        return row is None or row.phase in (Phase.FREEING, Phase.FREED)

    def begin(self, key: RowKey, tail: EntryId) -> None:
        """Hold a row whose receiver gave an event up."""
        self.rows[key] = begin(tail, self._asked)

    def park_behind(self, key: RowKey, tail: EntryId) -> None:
        """Record that a later event of a row was parked."""
        # The row may have been forgotten while the broker was asked to park.
        row = self.rows.get(key) or begin(tail, self._asked)
        self.rows[key] = park_behind(row, tail)

    def release(self, key: RowKey) -> None:
        """Record that a task handles a row's parked events."""
        self.rows[key] = release(self.rows[key], self._asked)

    def hold_again(self, key: RowKey) -> None:
        """Record that a task handles the row's parked events no more, and some are left."""
        self.rows[key] = hold_again(self.rows[key], self._asked)

    def begin_to_free(self, key: RowKey) -> None:
        """Record that the broker is asked to take out the last parked event of a row."""
        self.rows[key] = begin_to_free(self.rows[key], self._asked)

    def end_freeing(self, key: RowKey, *, is_held: bool) -> bool:
        """Record whether the broker still holds a row whose last parked event it has taken out.

        Returns:
            False if the row has another parked event to handle.
        """
        row = self.rows[key]
        if row.phase is not Phase.FREEING:
            # The row was free, and a later event was given up before the answer was here.
            return True
        change = release if is_held else free
        self.rows[key] = change(row, self._asked)
        return not is_held

    def add(self, tails: Mapping[RowKey, EntryId], question: int) -> None:
        """Add rows that the broker holds and this tenure does not know.

        Args:
            tails: for each row its last parked event.
            question: the question to which the broker named these rows.
        """
        for key, tail in tails.items():
            # The question itself counts for such a row: nothing here is newer than the answer.
            self.rows.setdefault(key, begin(tail, question - 1))

    def learn(
        self, keys: Iterable[RowKey], answer: Mapping[RowKey, HeldState], question: int
    ) -> Findings:
        """Forget those of some rows that are free, and return those that were released or lost."""
        released, lost = [], []
        for key in keys:
            row = self.rows.get(key)
            if row is None:
                continue
            finding = compare(row, answer.get(key), question)
            if finding is Finding.FREE:
                del self.rows[key]
            elif finding is Finding.RELEASED:
                released.append(key)
            elif finding is Finding.LOST:
                lost.append(key)
        return Findings(released, lost)
