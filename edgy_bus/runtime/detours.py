"""Take the events of held rows out of the stream (`on_exhausted="hold"`).

An event that was given up and the later events of its row are parked beside the stream, until an
operator decides. Parked events keep nothing from being trimmed and take no room in hand.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from edgy_bus.brokers.base import START, DeadLetter, EntryId, HeldState, RowKey
from edgy_bus.errors import BrokerNotReady, BrokerUnavailable
from edgy_bus.runtime.attendance import Attendance
from edgy_bus.runtime.held_rows import HeldRows
from edgy_bus.runtime.jobs import Job, Work
from edgy_bus.runtime.lanes import Lanes
from edgy_bus.runtime.owned import OwnedTasks
from edgy_bus.runtime.releases import Releases, parked_events_lost
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.waits import Waits

_LOOK = 1.0
"""Seconds between two questions whether an operator has decided, while rows are held."""

_RELEASING = 1_000
"""Released rows whose parked events are handled at the same time, most of them waiting."""

_PAGE = 500
"""Held rows that are looked at between two turns of the event loop."""


class Detours:
    """Park events of held rows, and find out what operators decide about these rows.

    Args:
        lanes: the lanes of the tenure.
        attendance: knows the receivers whose held rows are this tenure's.
        tasks: the tasks of the tenure, among which the parked events of released rows are handled.
    """

    def __init__(
        self,
        term: Term,
        tools: Tools,
        lanes: Lanes[Work],
        attendance: Attendance,
        tasks: OwnedTasks,
    ) -> None:
        self.held = HeldRows()
        self._term = term
        self._broker = tools.broker
        self._pause = tools.settings.backoff / 4
        self._lanes = lanes
        self.attendance = attendance
        self._tasks = tasks
        self._course = tools.window.course(term.lease)
        self.waits = Waits()
        self._releases = Releases(term, tools, self.held, tasks, self.waits)
        self._changed = asyncio.Event()
        self._nudged = False
        """Whether an operator may hold or release rows that this tenure does not know."""
        self._releasing = 0

    async def load(self) -> None:
        """Learn which rows earlier tenures have held. Raises `BrokerUnavailable`."""
        while True:
            try:
                return await self._load()
            except BrokerNotReady:
                # A server that has run nothing is no reason to end a tenure.
                if await self._term.pause(self._pause):
                    raise

    async def _load(self) -> None:
        # Before anything is read: an event of a row that a former owner held must be parked.
        question = self.held.ask()
        held = await self._held()
        await self._add([key for key in held if key not in self.held.rows], question)
        if self.held.rows:
            self._changed.set()

    async def _held(self) -> dict[RowKey, HeldState]:
        """Return the held rows of the receivers that take part in this tenure."""
        held = await self._broker.held(self._term.lease.partition, self._term.group)
        # Another tenure, of the receiver's own group, changes the other rows.
        return {key: held[key] for key in held if self.attendance.handles(key.receiver)}

    async def _add(self, rows: Sequence[RowKey], question: int) -> None:
        """Take note of held rows that this tenure does not know."""
        partition, group = self._term.lease.partition, self._term.group
        for page in _pages(rows):
            tails = await self._broker.tails(partition, group, page)
            self.held.add({key: tails.get(key, START) for key in page}, question)
            for key in page:
                # Parked events may have come back with an older copy of the data. Later events of
                # the row must come behind them, also those that this process has finished.
                self._course.repeat(key.subject)

    def nudge(self) -> None:
        """Look at the held rows soon, also if this tenure knows no held row."""
        self._nudged = True
        self._changed.set()

    def stop(self) -> None:
        """Make `run` return."""
        self._changed.set()

    async def hold(self, job: Job, letter: DeadLetter) -> None:
        """Park an event that was given up, and hold its row. Raises `LeaseLost`."""
        key = key_of(job)
        tail = await self._park(job, letter, begin=True, after=START)
        if tail is None:
            raise parked_events_lost(self._term, key)
        self.held.begin(key, tail)
        self._changed.set()

    async def park_behind(self, job: Job, letter: DeadLetter) -> bool:
        """Park a later event of a held row.

        Returns:
            False if the row is not held any more: the event can be handled.

        Raises:
            LeaseLost: if the row is not held and this tenure has not freed the row. The broker was
                rolled back then; what was parked comes again, before this event, in the next
                tenure.
        """
        key = key_of(job)
        tail = await self._park(job, letter, begin=False, after=self.held.tail(key))
        if tail is not None:
            self.held.park_behind(key, tail)
            return True
        # Only this tenure, which has the lease, ends holds of the partition.
        if not self.held.may_be_free(key):
            raise parked_events_lost(self._term, key)
        return False

    async def _park(
        self, job: Job, letter: DeadLetter, *, begin: bool, after: EntryId
    ) -> EntryId | None:
        handling, key = job.handling, key_of(job)
        # The event and the proof that it was put aside are written in the same step: a crash
        # between two steps would park the event twice, or lose it.
        return await self._broker.park(
            self._term.lease,
            key,
            letter,
            handling.kept,
            begin=begin,
            after=after,
        )

    async def run(self) -> None:
        """Ask once a second which held rows were released. Raises `LeaseLost`."""
        while not self._term.stopping:
            await self._changed.wait()
            self._changed.clear()
            while (self.held.rows or self._nudged) and not await self._term.pause(_LOOK):
                await self._look()

    async def _look(self) -> None:
        question = self.held.ask()
        # Before the question: what changes during the question is the next question's.
        was_nudged, self._nudged = self._nudged, False
        try:
            answer = await self._held()
            await self._add([key for key in answer if key not in self.held.rows], question)
        except BrokerUnavailable:
            self._nudged = self._nudged or was_nudged
            return
        for page in _pages(list(self.held.rows)):
            if self._term.stopping:
                return  # the tenure waits for the tasks that it has, and must get no other
            self._learn(page, answer, question)
            # Ten thousand rows take longer than the loop may stand still.
            await asyncio.sleep(0)

    def _learn(
        self, page: Sequence[RowKey], answer: Mapping[RowKey, HeldState], question: int
    ) -> None:
        """Forget rows that are free, and begin to handle those that were released."""
        findings = self.held.learn(page, answer, question)
        for key in findings.lost:
            # All of them end the tenure; the first is as good as another.
            raise parked_events_lost(self._term, key)
        # While the partition is offered to another worker, nothing may begin that keeps it busy.
        # The next look finds these rows again, here or there.
        if not self._term.may_begin():
            return
        for key in findings.released:
            if self._releasing >= _RELEASING:
                return  # The next look finds the others.
            # The row of a replayed letter was free until now: a call with a later event of the row
            # may be running, and two calls of one row must not run side by side.
            if (key.subject, key.receiver) in self._lanes:
                continue
            self._releasing += 1
            self.held.release(key)
            handling = self._releases.handle(key, answer[key].attempts)
            self._tasks.start(handling, self._release_ended)

    def _release_ended(self) -> None:
        self._releasing -= 1


def _pages(rows: Sequence[RowKey]) -> Iterator[Sequence[RowKey]]:
    return (rows[at : at + _PAGE] for at in range(0, len(rows), _PAGE))


def key_of(job: Job) -> RowKey:
    """Return the row of a job's event, which has a row if `holds` says so."""
    return RowKey(job.subscription.name, job.envelope.subject or "")


def holds(job: Job) -> bool:
    """Return whether the receiver holds the row of an event that the receiver has given up.

    Events without a row and intents (`pre_*`) have no order to keep.
    """
    envelope = job.envelope
    wanted = job.subscription.receiver.options.on_exhausted == "hold"
    return wanted and envelope.subject is not None and envelope.sequence is not None
