"""Take the events of held rows out of the stream (`on_exhausted="hold"`).

An event that was given up and the later events of its row are parked beside the stream, until an
operator decides. Parked events keep nothing from being trimmed and take no room in hand.
"""

import asyncio
from functools import partial

from edgy_bus.brokers.base import START, DeadLetter, EntryId, RowKey
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.runtime.held_rows import HeldRows
from edgy_bus.runtime.jobs import Job
from edgy_bus.runtime.outcome import Note
from edgy_bus.runtime.owned import OwnedTasks
from edgy_bus.runtime.patience import patiently
from edgy_bus.runtime.releases import Releases, parked_events_lost
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools

_LOOK = 1.0
"""Seconds between two questions whether an operator has decided, while rows are held."""


class Detours:
    """Park events of held rows, and find out what operators decide about these rows.

    Args:
        tasks: the tasks of the tenure, among which the parked events of released rows are handled.
    """

    def __init__(self, term: Term, tools: Tools, tasks: OwnedTasks) -> None:
        self.held = HeldRows()
        self._term = term
        self._broker = tools.broker
        self._pause = tools.settings.backoff / 4
        self._tasks = tasks
        self._releases = Releases(term, tools, self.held)
        self._changed = asyncio.Event()

    async def load(self) -> None:
        """Learn which rows earlier tenures have held. Raises `BrokerUnavailable`."""
        partition, group = self._term.lease.partition, self._term.group
        # Before anything is read: an event of a row that a former owner held must be parked.
        question = self.held.ask()
        answer = list(await self._broker.held(partition, group))
        tails = await self._broker.tails(partition, group, answer)
        self.held.add({key: tails.get(key, START) for key in answer}, question)
        if self.held.rows:
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
        if not self.held.is_freed(key):
            raise parked_events_lost(self._term, key)
        return False

    async def _park(
        self, job: Job, letter: DeadLetter, *, begin: bool, after: EntryId
    ) -> EntryId | None:
        handling, key = job.handling, key_of(job)
        # The event and the note that it was put aside are written in the same step: a crash between
        # two steps would park the event twice, or lose it.
        notes = handling.packed({key.receiver: Note(letter.attempts, done=True, kept=True)})
        call = partial(
            self._broker.park,
            self._term.lease,
            key,
            letter,
            notes,
            handling.kept,
            begin=begin,
            after=after,
        )
        return await patiently(call, self._pause)

    async def run(self) -> None:
        """Ask once a second which held rows were released. Raises `LeaseLost`."""
        while not self._term.stopping:
            await self._changed.wait()
            self._changed.clear()
            while self.held.rows and not await self._term.pause(_LOOK):
                await self._look()

    async def _look(self) -> None:
        partition, group = self._term.lease.partition, self._term.group
        question = self.held.ask()
        try:
            answer = await self._broker.held(partition, group)
            unknown = [key for key in answer if key not in self.held.rows]
            tails = await self._broker.tails(partition, group, unknown) if unknown else {}
        except BrokerUnavailable:
            return
        if self._term.stopping:
            return  # the tenure waits for the tasks that it has, and must get no other
        self.held.add({key: tails.get(key, START) for key in unknown}, question)
        findings = self.held.learn(answer, question)
        for key in findings.lost:
            # All of them end the tenure; the first is as good as another.
            raise parked_events_lost(self._term, key)
        for key in findings.released:
            self.held.release(key)
            self._tasks.start(self._releases.handle(key, answer[key].attempts))


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
