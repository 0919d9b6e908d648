"""One tenure of one partition by one worker: read under the lease, run in lanes, acknowledge, hand back.

Order of a row: entries are read in order, what former owners left unfinished before anything new, and a lane runs one job
after another. As soon as it is not known what a read has done (its answer was lost), the tenure ends: the next one begins
with what this one left unfinished. A tenure also ends when its lease could not be renewed in time; what runs is cancelled
then.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgy_bus import telemetry
from edgy_bus.brokers.base import START, Broker, DeadLetter, Entry, EntryId, Lease
from edgy_bus.codec import Envelope, unpack
from edgy_bus.errors import BrokerUnavailable, EventError, LeaseLost
from edgy_bus.events import Partition
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.lanes import Lane, Lanes
from edgy_bus.runtime.outcome import Again, Done, GiveUp, Note, decide, pack_notes, unpack_notes
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.services import Service, happens
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer

STREAM = "*"
"""In a dead letter, the receiver's name for an entry that no receiver could be found for because it is not an event."""


@dataclass(slots=True)
class Stats:
    """What a worker has done for a group, told to whoever asks the broker."""

    handled: int = 0
    skipped: int = 0
    retries: int = 0
    dead: int = 0


@dataclass(slots=True, eq=False)
class Handling:
    """An entry in hand: which of its receivers have not finished, and what is known about them."""

    entry: Entry
    notes: dict[str, Note]
    unfinished: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Job:
    """One receiver's turn at one entry."""

    handling: Handling
    envelope: Envelope
    subscription: Subscription

    @property
    def note(self) -> Note:
        return self.handling.notes.get(self.subscription.name) or Note()


@dataclass(frozen=True, slots=True)
class Tools:
    """What all sessions of a group in a process share."""

    broker: Broker
    subscriptions: Subscriptions
    settings: WorkerSettings
    slots: asyncio.Semaphore
    """One for every receiver that may run at the same time in this process."""
    stats: Stats
    idle: Callable[[], None]
    """Called when a session has read everything there is."""
    signer: Signer | None = None
    """Where there is one, entries that it does not know the signature of are dead letters."""


class PartitionSession(Service):
    """Handles the events of a partition for as long as the lease is held."""

    def __init__(self, lease: Lease, valid_until: float, tools: Tools) -> None:
        super().__init__()
        self.lease = lease
        self.lost = False
        self.position: EntryId | None = None
        """Where the stream was read up to, while the session waits for news."""
        self._valid_until = valid_until
        self._limit: asyncio.Timeout | None = None
        self._tools = tools
        self._lanes: Lanes[Job] = Lanes()
        self._runners: dict[asyncio.Task[None], None] = {}
        """In the order in which they began, as far as they have not ended."""
        self._executing: set[asyncio.Task[None]] = set()
        self._changed: dict[EntryId, Handling] = {}
        self._owed = asyncio.Event()
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._ending = False
        self._error: BaseException | None = None

    @property
    def place(self) -> Partition:
        return self.lease.place

    # Told by the consumer

    def extend(self, valid_until: float) -> None:
        """The lease was renewed; `valid_until` is on the loop's clock, counted from before the renewal was asked for."""
        self._valid_until = valid_until
        self._end_at(valid_until)

    def lose(self) -> None:
        """The lease is gone: end at once."""
        self._end_at(asyncio.get_running_loop().time())
        self.lost = True
        self.stopping.set()

    def _end_at(self, moment: float) -> None:
        if self.running and not self.lost and self._limit is not None and not self._limit.expired():
            self._limit.reschedule(moment)

    def wake(self) -> None:
        """There may be news."""
        self.position = None
        self._news.set()

    def finish(self) -> None:
        """Read no more; what runs may finish. Does not wait."""
        self.stopping.set()
        self._news.set()
        self._room.set()
        for runner in self._runners:
            if runner not in self._executing:
                runner.cancel()

    # The tenure

    async def run(self) -> None:
        try:
            async with asyncio.timeout_at(self._valid_until) as self._limit:
                acknowledging = asyncio.create_task(self._acknowledge())
                acknowledging.add_done_callback(self._ran)
                try:
                    await self._read()
                    await self._drain()
                    self._ending = True
                    self._owed.set()
                    await acknowledging
                finally:
                    await _cancelled([acknowledging, *self._runners])
        except TimeoutError:
            self.lost = True
        if self._error is not None:
            raise self._error
        if self.lost:
            telemetry.emit("session.lost", partition=str(self.place), group=self.lease.role)

    async def _read(self) -> None:
        tools = self._tools
        inherit = True
        while not self.stopping.is_set():
            count = self._lanes.room(tools.settings.prefetch)
            if not count or len(self._changed) > tools.settings.prefetch * 4:
                self._room.clear()
                await self._room.wait()
                continue
            self._news.clear()
            try:
                fetched = await tools.broker.fetch(self.lease, count, inherit=inherit)
            except BrokerUnavailable as error:
                # Entries may be ours without our knowing them: only a new tenure finds them again.
                telemetry.emit("session.doubt", partition=str(self.place), group=self.lease.role, error=str(error))
                self.finish()
                return
            except LeaseLost:
                self.lose()
                return
            if fetched.missing:
                telemetry.emit("session.missing", partition=str(self.place), count=len(fetched.missing))
            inherit = inherit and fetched.inherited
            for entry in fetched.entries:
                self._admit(entry)
            if not fetched.entries and not fetched.inherited:
                await self._wait_for_news(fetched.position)

    async def _wait_for_news(self, position: EntryId) -> None:
        self.position = position or START
        self._tools.idle()
        # The limit is the net under the bell: a stream may have been replaced by another whose entries have smaller ids.
        await happens(self._news, self._tools.settings.block * 2)
        self.position = None

    async def _drain(self) -> None:
        """Give running receivers their grace time; entries whose receivers did not run stay unfinished for the next owner."""
        self.finish()
        if self._runners:
            await asyncio.wait(self._runners, timeout=self._tools.settings.grace)

    # Entries and jobs

    def _admit(self, entry: Entry) -> None:
        handling = Handling(entry, unpack_notes(_event_id(entry), entry.notes))
        try:
            if self._tools.signer is not None:
                self._tools.signer.check(self.place, entry.fields)
            envelope = unpack(entry.fields)
            if envelope.model != self.place.model:
                raise EventError(f"an event of {envelope.model} does not belong on this stream")
        except EventError as error:
            self._run(self._discard(handling, str(error)))
            return
        alone = f"\0{entry.id}"
        row = envelope.subject if envelope.subject is not None and self.place.ordered else alone
        for subscription in self._tools.subscriptions.of(envelope.model, envelope.signal):
            note = handling.notes.get(subscription.name)
            if note is not None and note.done:
                continue
            handling.unfinished.add(subscription.name)
            ordered = subscription.receiver.options.ordered
            lane = self._lanes.add(
                (row if ordered else alone, subscription.name), Job(handling, envelope, subscription)
            )
            if lane is not None:
                self._run(self._run_lane(lane))
        if not handling.unfinished:
            self._owe(handling)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        runner = asyncio.create_task(coroutine)
        self._runners[runner] = None
        runner.add_done_callback(self._ran)

    def _ran(self, task: "asyncio.Task[None]") -> None:
        """A task of ours ended. An error in it is not a receiver's: the tenure ends with it."""
        self._runners.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self.finish()

    async def _run_lane(self, lane: Lane[Job]) -> None:
        runner = asyncio.current_task()
        while lane.jobs and runner is not None:
            job = lane.jobs[0]
            await self._until_due(lane, job.note.due)
            async with self._tools.slots:
                if self.stopping.is_set() or asyncio.get_running_loop().time() >= self._valid_until:
                    return
                self._executing.add(runner)
                try:
                    finished = await self._run_job(job)
                finally:
                    self._executing.discard(runner)
            if finished:
                self._lanes.finish(lane)
                self._room.set()

    async def _until_due(self, lane: Lane[Job], due: float) -> None:
        wait = due - time.time()
        if wait <= 0:
            return
        self._lanes.block(lane)
        self._room.set()
        try:
            await asyncio.sleep(wait)
        finally:
            self._lanes.unblock(lane)

    async def _run_job(self, job: Job) -> bool:
        """Call the receiver once and note what came of it; whether the job is over."""
        subscription, handling, stats = job.subscription, job.handling, self._tools.stats
        outcome = await execute(subscription, job.envelope, self._tools.settings.deadline)
        decision = decide(outcome, job.note, subscription.receiver.options.retry, time.time())
        if isinstance(decision, Again):
            stats.retries += 1
            handling.notes[subscription.name] = decision.note
            self._owe(handling)
            self._tell("receiver.retried", job, attempts=decision.note.attempts, reason=decision.reason)
            return False
        if isinstance(decision, GiveUp):
            await self._bury(handling, subscription.name, decision)
            self._tell("receiver.gave_up", job, attempts=decision.attempts, reason=decision.reason)
        elif isinstance(outcome, Done) and outcome.skipped:
            stats.skipped += 1
        else:
            stats.handled += 1
        self._close(handling, subscription.name)
        return True

    async def _discard(self, handling: Handling, reason: str) -> None:
        """An entry that is not an event of ours goes to the dead letters as it is."""
        note = handling.notes.get(STREAM)
        handling.unfinished.add(STREAM)
        if note is None or not note.done:
            await self._bury(handling, STREAM, GiveUp(0, reason))
            telemetry.emit("stream.foreign", partition=str(self.place), entry=str(handling.entry.id), reason=reason)
        self._close(handling, STREAM)

    async def _bury(self, handling: Handling, receiver: str, decision: GiveUp) -> None:
        """Keep the dead letter before anything else is said about the entry; wait as long as the broker cannot."""
        letter = DeadLetter(
            entry=handling.entry.id,
            receiver=receiver,
            reason=decision.reason,
            attempts=decision.attempts,
            fields=handling.entry.fields,
        )
        known = {**handling.notes, receiver: Note(decision.attempts, done=True)}
        notes = pack_notes(_event_id(handling.entry), known)
        while True:
            try:
                await self._tools.broker.bury(self.lease, letter, notes)
            except BrokerUnavailable:
                await asyncio.sleep(self._tools.settings.backoff / 4)
            except LeaseLost:
                self.lose()
                raise asyncio.CancelledError from None
            else:
                self._tools.stats.dead += 1
                return

    def _close(self, handling: Handling, receiver: str) -> None:
        before = handling.notes.get(receiver) or Note()
        handling.notes[receiver] = Note(before.attempts, done=True)
        handling.unfinished.discard(receiver)
        self._owe(handling)

    # Acknowledging

    def _owe(self, handling: Handling) -> None:
        """The broker has to be told about this entry."""
        self._changed[handling.entry.id] = handling
        self._owed.set()

    async def _acknowledge(self) -> None:
        """Tell the broker what is finished, and what is known about the rest; all that came up during one call in the next."""
        pause = 0.05
        while True:
            await self._owed.wait()
            self._owed.clear()
            changed, self._changed = self._changed, {}
            try:
                await self._tell_broker(changed)
                pause = 0.05
                self._room.set()
            except BrokerUnavailable:
                self._changed = {**changed, **self._changed}
                self._owed.set()
                await asyncio.sleep(pause)
                pause = min(self._tools.settings.backoff, pause * 2)
                continue
            except LeaseLost:
                self.lose()
                return
            if self._ending and not self._changed:
                return

    async def _tell_broker(self, changed: dict[EntryId, Handling]) -> None:
        broker = self._tools.broker
        notes = {key: pack_notes(_event_id(one.entry), one.notes) for key, one in changed.items() if one.unfinished}
        finished = [key for key, one in changed.items() if not one.unfinished]
        if notes:
            await broker.note(self.lease, notes)
        if finished:
            await broker.settle(self.lease, finished)

    def _tell(self, name: str, job: Job, **fields: object) -> None:
        telemetry.emit(
            name,
            group=self.lease.role,
            receiver=job.subscription.name,
            event=f"{job.envelope.model}.{job.envelope.signal}",
            event_id=job.envelope.id,
            **fields,
        )


def _event_id(entry: Entry) -> str:
    return entry.fields.get(b"id", b"").decode("latin-1")


async def _cancelled(tasks: "Sequence[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
