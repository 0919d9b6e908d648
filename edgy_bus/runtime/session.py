"""One tenure of one partition: read under the lease, run in lanes, acknowledge, hand back.

Order of a row: entries are read in order, what former owners left unfinished before anything new, and a lane runs one job
after another. As soon as it is not known what a read has done (its answer was lost), the tenure ends: the next one begins
with what this one left unfinished. A tenure also ends when its lease could not be renewed in time; what runs is cancelled
then.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgy_bus import telemetry
from edgy_bus.brokers.base import START, Broker, DeadLetter, Entry, EntryId, Lease
from edgy_bus.codec import unpack
from edgy_bus.errors import BrokerUnavailable, EventError, LeaseLost
from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.batches import Batches, Members
from edgy_bus.runtime.executor import Begun, attempt, execute, execute_batch, finish
from edgy_bus.runtime.jobs import NOTHING, STREAM, Foreign, Handling, Job, Stats, Work
from edgy_bus.runtime.lanes import Lane, Lanes
from edgy_bus.runtime.outcome import Again, Done, GiveUp, Note, Outcome, decide, unpack_notes
from edgy_bus.runtime.parking import Parking, holds, row_of
from edgy_bus.runtime.slots import Slots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.window import Window
from edgy_bus.services import Service, happens
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

_TURN = 0.02
"""Seconds for which all runners of a process together keep the event loop from everybody else, if their receivers wait for nothing."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all sessions of a group in a process share."""

    broker: Broker
    subscriptions: Subscriptions
    settings: WorkerSettings
    slots: Slots
    """One for every receiver that may run at the same time in this process."""
    stats: Stats
    window: Window
    idle: Callable[[], None]
    """Called when a session has read everything there is."""
    signer: Signer | None = None
    """Where there is one, entries that it does not know the signature of are dead letters."""


class PartitionSession(Service):
    """Handles the events of a partition for as long as the lease is held."""

    def __init__(self, lease: Lease, valid_until: float, tools: Tools) -> None:
        super().__init__()
        self.lease = lease
        self.partition = lease.partition
        self.lost = False
        self.position: EntryId | None = None
        """Where the stream was read up to, while the session waits for news."""
        self._keeps_order = lease.partition.ordered
        self._valid_until = valid_until
        self._limit: asyncio.Timeout | None = None
        self._tools = tools
        self._lanes: Lanes[Work] = Lanes()
        self._batches = Batches(self._pump)
        self._acknowledger = Acknowledger(
            tools.broker, lease, tools.settings.backoff, self._made_room
        )
        self._parking = Parking(
            tools.broker, lease, tools.subscriptions, tools.settings, self._is_over
        )
        self._runners: dict[asyncio.Task[None], None] = {}
        """In the order in which they began, as far as they have not ended."""
        self._postponed: dict[Lane[Work], asyncio.TimerHandle] = {}
        self._room = asyncio.Event()
        self._news = asyncio.Event()
        self._error: BaseException | None = None

    # Told by the consumer

    def extend(self, valid_until: float) -> None:
        """The lease was renewed; `valid_until` is on the loop's clock, counted from before the renewal was asked for."""
        self._valid_until = valid_until
        self._end_at(valid_until)
        self._pump()  # runners that saw the lease run out, just before this answer came, have ended

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
        self._parking.stop()
        self._news.set()
        self._room.set()

    # The tenure

    async def run(self) -> None:
        try:
            async with asyncio.timeout_at(self._valid_until) as self._limit:
                acknowledging = asyncio.create_task(self._acknowledge())
                acknowledging.add_done_callback(self._ran)
                try:
                    await self._read()
                    await self._drain()
                    self._acknowledger.end()
                    await acknowledging
                finally:
                    self.stopping.set()  # a runner that ends, or a renewal that comes now, begins no other
                    self._tools.slots.forget(self._pump)
                    self._stop_timers()
                    await _cancelled([acknowledging, *self._runners])
        except TimeoutError:
            self.lost = True
        if self._error is not None:
            raise self._error
        if self.lost:
            telemetry.emit(
                catalogue.TenureLost(partition=str(self.partition), group=self.lease.role)
            )

    async def _read(self) -> None:
        tools = self._tools
        inherit, read_up_to = True, START
        if not await self._know_held_rows():
            return
        while not self.stopping.is_set():
            if not self._has_room():
                self._room.clear()
                await self._room.wait()
                continue
            self._news.clear()
            try:
                count = self._lanes.room(tools.settings.prefetch)
                fetched = await tools.broker.fetch(self.lease, count, inherit=inherit)
            except BrokerUnavailable as error:
                # Entries may be ours without our knowing them: only a new tenure finds them again.
                telemetry.emit(
                    catalogue.TenureInDoubt(
                        partition=str(self.partition), group=self.lease.role, error=str(error)
                    )
                )
                self.finish()
                return
            except LeaseLost:
                self.lose()
                return
            if fetched.missing:
                telemetry.emit(
                    catalogue.EntriesMissing(
                        group=self.lease.role,
                        partition=str(self.partition),
                        count=len(fetched.missing),
                    )
                )
            inherit = inherit and fetched.inherited
            if fetched.entries:
                if fetched.entries[0].id <= read_up_to:
                    # The server was rolled back, and gives numbers out again: an acknowledgement by number may be for another event.
                    telemetry.emit(
                        catalogue.TenureInDoubt(
                            partition=str(self.partition),
                            group=self.lease.role,
                            error="it was rolled back",
                        )
                    )
                    self.lose()
                    return
                read_up_to = fetched.entries[-1].id
            for entry in fetched.entries:
                self._admit(entry)
            self._pump()
            if not fetched.entries and not fetched.inherited:
                await self._wait_for_news(fetched.position)

    async def _know_held_rows(self) -> bool:
        try:
            await self._parking.load()
        except BrokerUnavailable:
            self.finish()
            return False
        self._own(asyncio.create_task(self._handle_held_rows())).add_done_callback(self._ran)
        return True

    async def _handle_held_rows(self) -> None:
        try:
            await self._parking.run()
        except LeaseLost:
            self.lose()

    def _has_room(self) -> bool:
        """Whether it is worth while to read: there is room for half of what may be in hand, and the broker was told about the rest."""
        prefetch = self._tools.settings.prefetch
        return (
            self._lanes.room(prefetch) >= max(1, prefetch // 2)
            and len(self._acknowledger) <= prefetch * 4
        )

    def _made_room(self) -> None:
        if not self._room.is_set() and self._has_room():
            self._room.set()

    async def _wait_for_news(self, position: EntryId) -> None:
        self.position = position or START
        self._tools.idle()
        # The limit is the net under the bell: a stream may have been replaced by another whose entries have smaller ids.
        await happens(self._news, self._tools.settings.block * 2)
        self.position = None

    async def _drain(self) -> None:
        """Give running receivers their grace time; entries whose receivers did not run stay unfinished for the next owner."""
        self.finish()
        self._stop_timers()
        if self._runners:
            await asyncio.wait(self._runners, timeout=self._tools.settings.grace)

    def _stop_timers(self) -> None:
        self._batches.stop()
        for timer in self._postponed.values():
            timer.cancel()
        self._postponed.clear()

    async def _acknowledge(self) -> None:
        try:
            await self._acknowledger.run()
        except LeaseLost:
            self.lose()

    # Entries become jobs

    def _admit(self, entry: Entry) -> None:
        tools = self._tools
        handling = Handling(entry, {})
        if entry.notes:
            handling.notes = unpack_notes(handling.event_id, entry.notes)
        try:
            if tools.signer is not None:
                tools.signer.check(self.partition, entry.fields)
            envelope = unpack(entry.fields)
            if envelope.model != self.partition.model:
                raise EventError(f"an event of {envelope.model} does not belong on this stream")
        except EventError as error:
            handling.unfinished = 1
            self._lanes.add((_alone(entry), STREAM), Foreign(handling, str(error)))
            return
        row = envelope.subject if self._keeps_order else None
        first = entry.deliveries <= 1
        for subscription in tools.subscriptions.of(envelope.model, envelope.signal):
            name, options = subscription.name, subscription.receiver.options
            if handling.notes and handling.notes.get(name, NOTHING).done:
                continue
            if options.inbox is None and (envelope.id, name) in tools.window:
                tools.stats.skipped += 1
                handling.notes[name] = Note(done=True)
                continue
            handling.unfinished += 1
            key = (row if row is not None and options.ordered else _alone(entry), name)
            self._lanes.add(
                key, Job(handling, envelope, subscription, first and options.batch is None)
            )
        if not handling.unfinished:
            self._acknowledger.owe(handling)

    # Runners

    def _pump(self) -> None:
        """See to it that somebody runs what is ready. A runner that waits for something calls it, so that others go on meanwhile."""
        if (
            not (self._lanes.ready or self._batches.ready)
            or self.stopping.is_set()
            or self._is_over()
        ):
            return
        if self._tools.slots.take(self._pump):
            self._own(asyncio.create_task(self._run_lanes())).add_done_callback(self._runner_ended)

    def _own(self, task: "asyncio.Task[None]") -> "asyncio.Task[None]":
        """A task that the end of the tenure waits for."""
        self._runners[task] = None
        return task

    def _is_over(self) -> bool:
        """Whether the lease may have run out. Nothing is begun then, also if this process has slept through it."""
        return asyncio.get_running_loop().time() >= self._valid_until

    def _runner_ended(self, runner: "asyncio.Task[None]") -> None:
        self._ran(runner)
        self._tools.slots.give_back()
        self._pump()

    def _ran(self, task: "asyncio.Task[None]") -> None:
        """A task of ours ended. An error in it is not a receiver's: the tenure ends with it."""
        self._runners.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
            self.finish()

    async def _run_lanes(self) -> None:
        """Run what is ready, one after another, until nothing is, or the turn is over and somebody else needs the slot."""
        loop, slots = asyncio.get_running_loop(), self._tools.slots
        since = loop.time()
        while not self.stopping.is_set():
            now = loop.time()
            if now >= self._valid_until:
                return
            if (now - since) * slots.busy > _TURN:
                if slots.wanted:
                    return
                await asyncio.sleep(0)
                since = loop.time()
                continue
            if batch := self._batches.take():
                await self._run_batch(batch)
            elif lane := self._lanes.take():
                job = lane.jobs[0]
                if (
                    type(job) is Job
                    and job.plain
                    and not job.handling.notes
                    and not self._parking.rows
                ):
                    # Nearly every job, and nearly every receiver waits for nothing: no coroutine of ours stands in between.
                    answer = attempt(job.subscription, job.envelope)
                    if type(answer) is Done:
                        self._done(lane, job, answer)
                    else:
                        await self._go_on_with(lane, job, answer)
                else:
                    await self._run_lane(lane)
            else:
                return

    async def _run_lane(self, lane: Lane[Work]) -> None:
        """Run the first job of a lane, unless its time has not come."""
        job = lane.jobs[0]
        if isinstance(job, Foreign):
            await self._discard(job)
            self._finish(lane)
            return
        handling = job.handling
        if handling.notes and job.note.due > time.time():
            self._postpone(lane, job.note.due)
            return
        if (
            self._parking.rows
            and row_of(job) in self._parking.rows
            and await self._park_behind(lane, job)
        ):
            return
        batch = job.subscription.receiver.options.batch
        if batch is not None and not job.alone:
            self._batches.add(lane, job, batch)
            return
        if handling.entry.deliveries > 1 and not await self._begin([(lane, job)]):
            return
        outcome = await execute(
            job.subscription, job.envelope, self._tools.settings.deadline, self._pump
        )
        await self._conclude(lane, job, outcome)

    async def _go_on_with(self, lane: Lane[Work], job: Job, answer: Outcome | Begun) -> None:
        """Run the rest of a job that waits for something."""
        if isinstance(answer, Begun):
            self._pump()
            answer = await finish(job.subscription, answer, self._tools.settings.deadline)
        await self._conclude(lane, job, answer)

    async def _run_batch(self, members: Members) -> None:
        """Run the first jobs of several lanes of one subscription together."""
        begun = members
        if any(job.handling.entry.deliveries > 1 for _, job in members):
            begun = await self._begin(members)
        if not begun:
            return
        envelopes = [job.envelope for _, job in begun]
        subscription = begun[0][1].subscription
        outcomes = await execute_batch(
            subscription, envelopes, self._tools.settings.deadline, self._pump
        )
        for (lane, job), outcome in zip(begun, outcomes, strict=True):
            await self._conclude(lane, job, outcome, shared=len(begun) > 1)

    async def _begin(self, members: Members) -> Members:
        """Count attempts before they are made, together; answers those that are to be made.

        They are counted at entries that a former owner did not finish: perhaps because its process dies of one of them. What was not
        tried alone does not reach its last attempt: it may be another one that ended the process.
        """
        self._pump()
        begun: Members = []
        for lane, job in members:
            retry, attempts = job.subscription.receiver.options.retry, job.note.attempts
            if attempts >= retry.attempts:
                reason = f"the process of its worker ended in the last of {attempts} attempts"
                await self._give_up(lane, job, GiveUp(attempts, reason))
                continue
            begun.append((lane, job))
            if job.handling.entry.deliveries > 1:
                job.handling.begun = job.handling.begun or {}
                most = retry.attempts - (len(members) > 1)
                job.handling.begun[job.subscription.name] = Note(min(attempts + 1, most))
        await self._acknowledger.assure([job.handling for _, job in begun])
        if not self.stopping.is_set() and not self._is_over():
            return begun
        for lane, job in begun:
            if job.handling.begun and job.handling.begun.pop(job.subscription.name, None):
                self._acknowledger.owe(job.handling)  # it is not made after all
            self._lanes.give_back(lane)
        return []

    async def _conclude(
        self, lane: Lane[Work], job: Job, outcome: Outcome, *, shared: bool = False
    ) -> None:
        """Note what came of a job; `shared` with others, in one call."""
        subscription, handling, stats = job.subscription, job.handling, self._tools.stats
        if handling.begun:
            handling.begun.pop(subscription.name, None)
        if type(outcome) is Done:
            self._done(lane, job, outcome)
            return
        decision = decide(
            outcome, job.note, subscription.receiver.options.retry, time.time(), shared=shared
        )
        if isinstance(decision, GiveUp):
            await self._give_up(lane, job, decision)
        elif isinstance(decision, Again):
            stats.retries += 1
            job.again = True
            handling.notes[subscription.name] = decision.note
            self._acknowledger.owe(handling)
            self._postpone(lane, decision.note.due)
            self._report(catalogue.ReceiverRetried, job, decision)

    def _done(self, lane: Lane[Work], job: Job, outcome: Done) -> None:
        subscription, stats = job.subscription, self._tools.stats
        if outcome.skipped:
            stats.skipped += 1
        else:
            stats.handled += 1
        if subscription.receiver.options.inbox is None:
            self._tools.window.add(job.envelope.id, subscription.name)
        self._close(job.handling, subscription.name)
        self._finish(lane)

    def _postpone(self, lane: Lane[Work], due: float) -> None:
        """The lane waits until `due`, in seconds since 1970."""
        if self.stopping.is_set():
            return  # it is the next owner's
        self._lanes.block(lane)
        self._made_room()
        wait = max(0.0, due - time.time())
        self._postponed[lane] = asyncio.get_running_loop().call_later(wait, self._go_on, lane)

    def _go_on(self, lane: Lane[Work]) -> None:
        del self._postponed[lane]
        self._lanes.unblock(lane)
        self._pump()

    def _finish(self, lane: Lane[Work]) -> None:
        self._lanes.finish(lane)
        self._made_room()

    def _close(self, handling: Handling, receiver: str) -> None:
        """A receiver has finished with an entry."""
        handling.unfinished -= 1
        if handling.unfinished:
            before = handling.notes.get(receiver, NOTHING)
            handling.notes[receiver] = Note(before.attempts, done=True)
        self._acknowledger.owe(handling)

    def _put_aside(self, handling: Handling, receiver: str, attempts: int) -> None:
        """A receiver's turn at an entry is over because the event was put aside, which the broker has to know still when it is told so."""
        handling.unfinished -= 1
        handling.notes[receiver] = Note(attempts, done=True, kept=True)
        self._acknowledger.owe(handling)

    # Given up: dead letters and held rows

    async def _give_up(self, lane: Lane[Work], job: Job, decision: GiveUp) -> None:
        if holds(job):
            await self._park(job, decision, begin=True)
        else:
            await self._bury(job.handling, job.subscription.name, decision)
        self._report(catalogue.ReceiverGaveUp, job, decision)
        self._put_aside(job.handling, job.subscription.name, decision.attempts)
        self._finish(lane)

    async def _park_behind(self, lane: Lane[Work], job: Job) -> bool:
        """An event of a row that is held is parked as well; False if the row is not held any more."""
        if not await self._park(job, GiveUp(job.note.attempts, "its row is held"), begin=False):
            return False
        self._put_aside(job.handling, job.subscription.name, job.note.attempts)
        self._finish(lane)
        return True

    async def _park(self, job: Job, decision: GiveUp, *, begin: bool) -> bool:
        self._pump()
        try:
            return await self._parking.park(
                job, _letter(job.handling, job.subscription.name, decision), begin=begin
            )
        except LeaseLost:
            self.lose()
            raise asyncio.CancelledError from None

    async def _discard(self, job: Foreign) -> None:
        """An entry that is not an event of ours goes to the dead letters as it is."""
        handling = job.handling
        if not handling.notes.get(STREAM, NOTHING).done:
            await self._bury(handling, STREAM, GiveUp(0, job.reason))
            telemetry.emit(
                catalogue.ForeignEntry(
                    group=self.lease.role,
                    partition=str(self.partition),
                    entry=str(handling.entry.id),
                    reason=job.reason,
                )
            )
        self._put_aside(handling, STREAM, 0)

    async def _bury(self, handling: Handling, receiver: str, decision: GiveUp) -> None:
        """Keep the dead letter before anything else is said about the entry; wait as long as the broker cannot."""
        letter = _letter(handling, receiver, decision)
        notes = handling.packed({receiver: Note(decision.attempts, done=True, kept=True)})
        kept = handling.kept
        self._pump()
        while True:
            try:
                await self._tools.broker.bury(self.lease, letter, notes, kept)
            except BrokerUnavailable:
                await asyncio.sleep(self._tools.settings.backoff / 4)
            except LeaseLost:
                self.lose()
                raise asyncio.CancelledError from None
            else:
                self._tools.stats.dead += 1
                return

    def _report(
        self,
        notice: type[catalogue.ReceiverRetried | catalogue.ReceiverGaveUp],
        job: Job,
        decision: Again | GiveUp,
    ) -> None:
        attempts = decision.attempts if isinstance(decision, GiveUp) else decision.note.attempts
        telemetry.emit(
            notice(
                group=self.lease.role,
                receiver=job.subscription.name,
                event=f"{job.envelope.model}.{job.envelope.signal}",
                event_id=job.envelope.id,
                attempts=attempts,
                reason=decision.reason,
            )
        )


def _letter(handling: Handling, receiver: str, decision: GiveUp) -> DeadLetter:
    return DeadLetter(
        entry=handling.entry.id,
        receiver=receiver,
        reason=decision.reason,
        attempts=decision.attempts,
        fields=handling.entry.fields,
    )


def _alone(entry: Entry) -> str:
    """The row of an entry that is of none."""
    return f"\0{entry.id}"


async def _cancelled(tasks: "Sequence[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
