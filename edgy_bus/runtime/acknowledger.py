"""Settle finished entries at the broker, and note the state of unfinished entries.

A round reports what is owed at its beginning, so that a crash between two calls leaves no row in
disorder: a receiver may have finished an earlier entry, which another receiver has not, and a later
entry of the row. If the later were at the broker alone, the earlier would come again alone, behind
the later.

- Finished entries are settled first. A broker that is full may refuse notes, and settled entries
  are what makes room.
- Notes are written next, in the order of entries.
- Last are the finished entries that are later than an unfinished entry of their row.

A round begins a moment after an entry is finished, or with many finished entries, or as soon as a
caller waits for the report: a round for each entry would cost more than many receivers do.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from edgy_bus.brokers.base import START, Broker, EntryId, Kept, Lease
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.runtime.jobs import Handling
from edgy_bus.services import happens

_FIRST_PAUSE = 0.05

_GATHERING = 0.02
"""Seconds that a finished entry waits for others, to be settled with them."""

_MANY = 50
"""The most finished entries that wait for others."""

_LARGE = 10_000
"""Bytes of an entry that are worth the time to forget them early."""

_PAGE = 500
"""Entries of a call: a script of a few milliseconds."""

Owed = dict[EntryId, Handling]
Waiter = asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Round:
    """What is owed at the beginning of a round. The notes are packed then."""

    first: Owed
    last: Owed
    unfinished: Owed
    notes: Mapping[EntryId, bytes]
    number: int
    assured: int
    behind: int


class Acknowledger:
    """Report the entries of a tenure to the broker.

    Args:
        lease: of the tenure; the broker checks the lease in every call.
        backoff: longest pause in seconds between attempts that the broker does not answer, or
            refuses.
        reported: called after entries were settled.
        prefetch: how many entries may be in hand; as many finished ones wait for no others.
        gone: receivers that were left out of entries, and that the group has forgotten since.
    """

    def __init__(
        self,
        broker: Broker,
        lease: Lease,
        backoff: float,
        reported: Callable[[], None],
        gone: Set[str] = frozenset(),
        *,
        prefetch: int = _MANY,
    ) -> None:
        self._broker = broker
        self._lease = lease
        self._backoff = backoff
        self._reported = reported
        self._gone = gone
        self._many = min(_MANY, prefetch)
        self._finished: Owed = {}
        self._withheld: Owed = {}
        """Finished entries that wait for the note about an earlier entry of their row."""
        self._unfinished: Owed = {}
        self._owed = asyncio.Event()
        self._enough = asyncio.Event()
        """Set when a round should not wait for more."""
        self._ending = False
        self._assured: list[Waiter] = []
        self._behind: list[Waiter] = []
        self._failure: Exception | None = None
        self._now: _Round | None = None
        """The round that is under way."""
        self._rounds = 0
        self._pause = self._note_pause = _FIRST_PAUSE
        self._next_notes: asyncio.TimerHandle | None = None
        """Set while notes wait because the broker has refused them."""

    def __len__(self) -> int:
        """Return how many finished entries are still to be settled."""
        # With those of the round: a broker that refuses to settle would fill the memory of this
        # process, round by round.
        now = self._now
        reporting = 0 if now is None else len(now.first) + len(now.last)
        return len(self._finished) + len(self._withheld) + reporting

    def owe(self, handling: Handling) -> None:
        """Report an entry in the next call."""
        # Setting an event is slow enough to matter, and this runs for every event.
        count = len(self._finished)
        if not count:
            self._owed.set()
        elif count == self._many:
            self._enough.set()
        entry = handling.entry.id
        if handling.unfinished:
            self._unfinished[entry] = handling
            self._owed.set()
            return
        self._finished[entry] = handling
        if handling.size > _LARGE:
            # The entry is settled by its id, and may wait for a broker that is away.
            handling.drop_data()
        if self._unfinished:
            # A note that comes after the end of its entry would stay for ever.
            self._unfinished.pop(entry, None)

    def hurry(self) -> None:
        """Report what is owed without waiting for more."""
        self._enough.set()

    async def assure(self, handlings: Sequence[Handling]) -> None:
        """Return when the present state of these entries is at the broker.

        Raises the error that ended `run`.
        """
        if not handlings:
            return
        for handling in handlings:
            self.owe(handling)
        await self._wait(self._assured)

    async def catch_up(self) -> None:
        """Return when everything that is owed now is at the broker.

        Raises `BrokerUnavailable` if notes wait because the broker refuses them, and the error that
        ended `run`.
        """
        await self._wait(self._behind)

    async def _wait(self, waiters: list[Waiter]) -> None:
        if self._failure is not None:
            raise self._failure
        waiter = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        self._owed.set()
        self.hurry()
        await waiter

    def end(self) -> None:
        """Make `run` return as soon as every finished entry is settled.

        Notes that the broker refuses are given up, and with them later entries of their rows: the
        next owner goes on without them.
        """
        self._ending = True
        self._owed.set()
        self.hurry()

    async def run(self) -> None:
        """Report the entries that are owed, again and again until `end`.

        Raises:
            LeaseLost: when the broker refuses the lease, or has lost an event that was put aside.
            BrokerError: for a refusal that waiting does not mend.
        """
        try:
            while not await self._report_once():
                continue
        except Exception as error:
            # Nobody reports any more: a call that waits would keep the tenure for ever.
            self._failure = error
            _fail([*self._assured, *self._behind], error)
            raise
        finally:
            self._stop_waiting()

    async def _report_once(self) -> bool:
        """Make a round; return whether nothing is left to do."""
        await self._owed.wait()
        if len(self._finished) < self._many:
            await happens(self._enough, _GATHERING)
        self._owed.clear()
        self._enough.clear()
        ending = self._ending
        takes_notes = ending or self._next_notes is None or not self._unfinished
        now = self._now = self._take(takes_notes=takes_notes)
        try:
            await self._settle_all(now.first)
            is_noted = takes_notes and await self._note_all(now)
            if is_noted:
                await self._settle_all(now.last)
        except BrokerUnavailable:
            self._owe_again(now)
            self._owed.set()
            await asyncio.sleep(self._pause)
            self._pause = min(self._backoff, self._pause * 2)
            return False
        self._pause = _FIRST_PAUSE
        self._answer(now, is_noted=is_noted)
        return ending and not self._finished

    def _take(self, *, takes_notes: bool) -> _Round:
        owed = self._withheld | self._finished if self._withheld else self._finished
        self._finished, self._withheld = {}, {}
        first, last = _apart(owed, self._unfinished.values())
        unfinished: Owed = {}
        if takes_notes:
            unfinished, self._unfinished = self._unfinished, {}
        notes = {entry: handling.packed() for entry, handling in unfinished.items()}
        self._rounds += 1
        waiting = len(self._assured), len(self._behind)
        return _Round(first, last, unfinished, notes, self._rounds, *waiting)

    def _owe_again(self, now: _Round) -> None:
        """Owe what a round did not report; entries that were finished meanwhile are settled."""
        self._now = None
        self._finished |= now.first | now.last
        self._unfinished |= {
            entry: handling for entry, handling in now.unfinished.items() if handling.unfinished
        }

    def _answer(self, now: _Round, *, is_noted: bool) -> None:
        """Go on with those that waited for a round."""
        self._now = None
        behind, self._behind = self._behind[: now.behind], self._behind[now.behind :]
        if is_noted:
            _resolve(behind)
            assured, self._assured = self._assured[: now.assured], self._assured[now.assured :]
            _resolve(assured)
            return
        self._withheld |= now.last
        # Also if their entries were finished meanwhile: these entries, and those that were withheld
        # because of them, are settled in the next round.
        _fail(behind, BrokerUnavailable("notes wait until the broker accepts them"))

    async def _settle_all(self, owed: Owed) -> None:
        """Settle entries, and take out of `owed` what is settled."""
        for page in _pages(owed):
            entries = [handling.entry.id for handling in page]
            await self._broker.settle(self._lease, entries, _kept(page), self._left_out(page))
            for entry in entries:
                del owed[entry]
            self._reported()

    def _left_out(self, handlings: Sequence[Handling]) -> Mapping[str, EntryId]:
        """Return for each receiver that was left out the greatest entry."""
        entries: dict[str, EntryId] = {}
        for handling in handlings:
            for name in handling.left_out:
                if name not in self._gone:
                    entries[name] = max(handling.entry.id, entries.get(name, START))
        return entries

    async def _note_all(self, now: _Round) -> bool:
        """Write the notes of a round; False if the broker refuses one of them."""
        if not now.unfinished:
            return True
        for page in _pages(now.unfinished):
            notes = {handling.entry.id: now.notes[handling.entry.id] for handling in page}
            try:
                await self._broker.note(self._lease, notes, _kept(page), number=now.number)
            except BrokerUnavailable:
                self._unfinished |= {
                    entry: each for entry, each in now.unfinished.items() if each.unfinished
                }
                self._wait_with_notes()
                return False
            for entry in notes:
                del now.unfinished[entry]
        self._note_pause = _FIRST_PAUSE
        self._stop_waiting()
        return True

    def _wait_with_notes(self) -> None:
        self._stop_waiting()
        loop = asyncio.get_running_loop()
        self._next_notes = loop.call_later(self._note_pause, self._go_on_with_notes)
        self._note_pause = min(self._backoff, self._note_pause * 2)

    def _go_on_with_notes(self) -> None:
        self._next_notes = None
        self._owed.set()

    def _stop_waiting(self) -> None:
        if self._next_notes is not None:
            self._next_notes.cancel()
            self._next_notes = None


def _apart(owed: Owed, unfinished: Iterable[Handling]) -> tuple[Owed, Owed]:
    """Return the finished entries that may be settled, and those later than an unfinished one."""
    first: dict[str, EntryId] = {}
    for handling in unfinished:
        row, entry = handling.row, handling.entry.id
        if row is not None and entry < first.get(row, _ENDLESS):
            first[row] = entry
    if not first:
        return owed, {}
    last = {
        entry: each
        for entry, each in owed.items()
        if each.row is not None and entry > first.get(each.row, _ENDLESS)
    }
    return {entry: each for entry, each in owed.items() if entry not in last}, last


_ENDLESS = EntryId(2**64, 0)
"""An id above every entry's."""


def _resolve(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        # The task that waited for the report may have been cancelled meanwhile.
        if not waiter.done():
            waiter.set_result(None)


def _fail(waiters: Iterable[Waiter], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)


def _pages(owed: Owed) -> list[list[Handling]]:
    handlings = list(owed.values())
    if len(handlings) > _PAGE:
        # A crash between two pages must not leave the later entry of a row alone at the broker.
        handlings.sort(key=lambda handling: handling.entry.id)
    return [handlings[at : at + _PAGE] for at in range(0, len(handlings), _PAGE)]


def _kept(handlings: Sequence[Handling]) -> list[Kept]:
    return [kept for handling in handlings if handling.notes for kept in handling.kept]
