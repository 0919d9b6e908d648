"""Run the jobs of a partition: lanes, batches, slots and turns.

Lanes have no tasks. A *runner* is a task that holds a slot of the process and runs ready jobs until
none is ready, the tenure stops, or its turn is over and another partition wants the slot. Most
calls are plain (see `Job`), and most receivers wait for nothing: a runner calls them without a
task, a deadline or a coroutine of this library in between. A plain call takes a slot of its
receiver when the call begins to wait, any other call takes the slot at once. When a call waits,
`Scheduler.pump` starts another runner.

A lane that cannot run is blocked, and waits in one of four places: for its next attempt
(`Postponed`), for its batch (`Batches`), for a slot of its receiver (`Stalled`), or until its first
event is put aside (`SideWriter`).
"""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from edgy_bus.runtime.attempts import Attempts
from edgy_bus.runtime.batches import Batches, Members
from edgy_bus.runtime.detours import Detours, key_of
from edgy_bus.runtime.executor import Begun, attempt, execute, execute_batch, finish
from edgy_bus.runtime.in_hand import InHand
from edgy_bus.runtime.jobs import Foreign, Job, Work
from edgy_bus.runtime.lanes import Lane
from edgy_bus.runtime.outcome import Again, Done, GiveUp, Outcome
from edgy_bus.runtime.owned import TenureTasks
from edgy_bus.runtime.postponed import Postponed
from edgy_bus.runtime.side_writer import SideWriter, Write
from edgy_bus.runtime.stalled import Stalled, Unit
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.verdicts import Verdicts

_TURN = 0.02
"""Seconds for which all runners of a process together may keep the event loop from everyone else,
if their receivers wait for nothing."""


class Scheduler:
    """Decide which job runs next, and run it.

    Args:
        tasks: the tasks of the tenure, among which runners live.
        detours: where events of held rows go.
    """

    def __init__(
        self,
        term: Term,
        tools: Tools,
        in_hand: InHand,
        tasks: TenureTasks,
        detours: Detours,
    ) -> None:
        self._term = term
        self._slots = tools.slots
        self._receivers = tools.receivers
        self._meter = tools.meter
        self._deadline = tools.settings.deadline
        self._in_hand = in_hand
        self._lanes = in_hand.lanes
        self._calls = tasks.calls
        self._held = detours.held
        self._verdicts = Verdicts(term, tools, in_hand.acknowledger, detours)
        self._attempts = Attempts(term, in_hand.acknowledger)
        self._batches = Batches(self._lanes, self.pump)
        self._stalled = Stalled(term, self._lanes, tools.receivers, self.pump)
        self._aside = SideWriter(term, tasks.writes, tools.settings.backoff, self._put_aside)
        self._postponed = Postponed(term, self._lanes, self.pump)

    def pump(self) -> None:
        """Start another runner if work is ready and a slot is free.

        Called whenever work may be ready, and before every wait of a runner.
        """
        if not (self._lanes.ready or self._batches.ready or self._stalled.ready):
            return
        if not self._term.may_begin():
            return
        # One runner at a time is enough: the runner calls `pump` before its first wait.
        if self._slots.take(self.pump):
            self._calls.start(self._run(), self._runner_ended)

    def pause(self) -> None:
        """Keep no slot for work that must not begin now."""
        self._stalled.withdraw()

    def resume(self) -> None:
        """Go on after a time in which no call might begin."""
        self._stalled.resume()
        self.pump()

    def stop(self) -> None:
        """Drop gathered batches and postponed lanes; the next owner gets these entries."""
        self._slots.forget(self.pump)
        self._stalled.withdraw()
        self._batches.stop()
        self._postponed.stop()

    def _runner_ended(self) -> None:
        self._slots.give_back()
        self.pump()

    async def _run(self) -> None:
        """Run ready jobs, until no job is ready, or the turn is over and the slot is wanted."""
        loop, slots, term = asyncio.get_running_loop(), self._slots, self._term
        stalled, batches, task = self._stalled, self._batches, asyncio.current_task()
        since, sharing = loop.time(), slots.active
        while term.begins:
            now = loop.time()
            if now >= term.valid_until:
                return
            # Runners that wait for nothing run one after another, so the loop waits for all of
            # them.
            if (now - since) * sharing > _TURN:
                if slots.wanted:
                    return
                await asyncio.sleep(0)
                since, sharing = loop.time(), slots.active
            elif stalled.ready or batches.ready:
                await self._run_special(now, task)
                sharing = slots.busy
            elif lane := self._lanes.take():
                receiver = lane.key[1]
                if receiver in self._receivers.full:
                    self._stall(receiver, lane)
                elif rest := self._begin(lane, now, task):
                    await rest
                    # All runners whose calls have ended meanwhile go on in the same turn of the
                    # loop.
                    sharing = slots.busy
            elif not self._in_hand.is_full() or not batches.close():
                # In a full hand, nothing is read that could fill a batch. A batch that is larger
                # than what may be in hand would stand still, and with it the other receivers.
                return

    def _begin(
        self, lane: Lane[Work], now: float, task: asyncio.Task[Any] | None
    ) -> Coroutine[Any, Any, None] | None:
        """Run the first job of a lane; return the rest of the work, or None if nothing is left."""
        job = lane.jobs[0]
        if type(job) is not Job or not job.plain or job.handling.notes or self._held.rows:
            return self._run_first(lane)
        # Nearly every job, and nearly every receiver waits for nothing: no coroutine of this
        # library stands between the runner and the receiver.
        answer = attempt(job.subscription, job.envelope, task)
        if type(answer) is not Done:
            return self._go_on_with(lane, job, answer, now)
        self._verdicts.done(job, answer, now)
        self._finish(lane)
        return None

    async def _run_special(self, now: float, task: asyncio.Task[Any] | None) -> None:
        """Run work for which a slot of its receiver is kept, or a batch."""
        if not self._stalled.ready:
            batch = self._batches.ready.popleft()
            receiver = batch[0][1].subscription.name
            if receiver in self._receivers.full:
                self._stall(receiver, batch)
            else:
                await self._make_call(batch)
            return
        receiver, unit = self._stalled.ready.popleft()
        self._receivers.vacate(receiver)
        try:
            # A breaker may have opened since the slot was taken.
            if not self._receivers.has_free(receiver):
                self._stall(receiver, unit)
            elif isinstance(unit, Lane):
                if rest := self._begin(unit, now, task):
                    await rest
            else:
                await self._make_call(unit)
        finally:
            self._receivers.offer(receiver)

    def _stall(self, receiver: str, unit: Unit) -> None:
        self._stalled.add(receiver, unit)
        self._in_hand.check_room()

    @contextmanager
    def _waiting(self, receiver: str) -> Iterator[None]:
        """Hold a slot of a receiver while its call waits or may wait; other work goes on."""
        self._receivers.occupy(receiver)
        self._slots.rest()
        try:
            yield
        finally:
            self._slots.resume()
            self._receivers.give_back(receiver)

    def _others(self) -> None:
        """Let others go on, because a call waits: other lanes, and the reading of other rows."""
        self.pump()
        self._in_hand.check_room()

    async def _go_on_with(
        self, lane: Lane[Work], job: Job, answer: Outcome | Begun, began: float
    ) -> None:
        """Run the rest of a plain job, and conclude it."""
        waits = isinstance(answer, Begun)
        with self._waiting(job.subscription.name) if waits else nullcontext():
            if isinstance(answer, Begun):
                self._others()
                answer = await finish(job.subscription, job.envelope, answer, self._deadline)
            if self._meter is not None:
                self._meter.called([job], [answer], began)
            # With the slot: a failure may open the breaker, and nobody may have the slot then.
            self._conclude(lane, job, answer)

    async def _run_first(self, lane: Lane[Work]) -> None:
        """Run the first job of a lane, unless the job has to wait."""
        job = lane.jobs[0]
        if isinstance(job, Foreign):
            self._write(lane, partial(self._verdicts.discard, job))
            return
        if job.handling.notes and not job.waited and (wait := job.note.remaining(time.time())):
            self._postpone(lane, job, wait)
            return
        if self._held.rows and self._must_park(job):
            self._write(lane, partial(self._verdicts.park_behind, job))
            return
        # After retries and held rows: a lane in a batch must be able to run at once.
        batch = job.subscription.receiver.options.batch
        if batch is not None and not job.alone:
            self._batches.add(lane, job, batch)
            self._in_hand.check_room()
            return
        await self._make_call([(lane, job)])

    async def _make_call(self, members: Members) -> None:
        """Make one call with the first jobs of these lanes, and conclude each of the jobs."""
        with self._waiting(members[0][1].subscription.name):
            members, outcomes = await self._called(members)
            shared = len(members) > 1
            for (lane, job), outcome in zip(members, outcomes, strict=True):
                self._conclude(lane, job, outcome, shared=shared)

    async def _called(self, members: Members) -> tuple[Members, Sequence[Outcome]]:
        """Return the jobs that were called, and the outcome of each."""
        if any(job.inherited for _, job in members):
            members = await self._count_attempts(members)
        if not members:
            return [], []
        jobs = [job for _, job in members]
        subscription, envelopes = jobs[0].subscription, [job.envelope for job in jobs]
        began = asyncio.get_running_loop().time()
        outcomes: Sequence[Outcome]
        if len(jobs) == 1:
            outcomes = [await execute(subscription, envelopes[0], self._deadline, self._others)]
        else:
            outcomes = await execute_batch(subscription, envelopes, self._deadline, self._others)
        if self._meter is not None:
            self._meter.called(jobs, outcomes, began)
        return members, outcomes

    async def _count_attempts(self, members: Members) -> Members:
        """Count attempts before they are made; return the lanes whose jobs may be called now."""
        self._others()
        begun: Members = []
        for lane, job in members:
            exhausted = self._verdicts.crashed(job)
            if exhausted is None:
                begun.append((lane, job))
            else:
                self._give_up(lane, job, exhausted)
        if await self._attempts.count([job for _, job in begun]):
            return begun
        # The lease may have been renewed after all: the jobs are ready again for that case.
        for lane, _ in begun:
            self._lanes.give_back(lane)
        return []

    def _conclude(
        self, lane: Lane[Work], job: Job, outcome: Outcome, *, shared: bool = False
    ) -> None:
        """Record the outcome of a call; the lane goes on, waits, or gives the event up."""
        decision = self._verdicts.conclude(job, outcome, shared=shared)
        if isinstance(decision, GiveUp):
            self._give_up(lane, job, decision)
        elif isinstance(decision, Again):
            self._postpone(lane, job, decision.note.wait)
        else:
            self._finish(lane)

    def _give_up(self, lane: Lane[Work], job: Job, decision: GiveUp) -> None:
        self._write(lane, partial(self._verdicts.give_up, job, decision))

    def _must_park(self, job: Job) -> bool:
        """Return whether an event stays behind its row, which is held."""
        # Once the broker has answered that the row is free, the event does not ask again: this
        # tenure learns of the end of the hold a little later.
        in_order = job.envelope.subject is not None and not job.released
        return in_order and key_of(job) in self._held.rows

    def _write(self, lane: Lane[Work], write: Write) -> None:
        """Put the event of a running lane aside; the lane waits for that, and holds no slot."""
        self._lanes.block(lane)
        self._in_hand.check_room()
        self._aside.add(lane, write)

    def _put_aside(self, lane: Lane[Work], written: bool) -> None:
        """Go on with a lane whose first event was put aside, or is to be handled after all."""
        if written:
            self._lanes.finish_blocked(lane)
            self._in_hand.check_room()
        else:
            self._lanes.unblock(lane)
        self.pump()

    def _finish(self, lane: Lane[Work]) -> None:
        self._lanes.finish(lane)
        self._in_hand.check_room()

    def _postpone(self, lane: Lane[Work], job: Job, wait: float) -> None:
        """Let a lane wait for some seconds before its first job is called."""
        due = asyncio.get_running_loop().time() + wait
        self._in_hand.waits.add(job.subscription.name, due)
        self._postponed.add(lane, job, wait)
        self._in_hand.check_room()
