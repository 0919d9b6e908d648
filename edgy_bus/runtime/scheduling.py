"""Run the jobs of a partition: lanes, batches, slots and turns.

Lanes have no tasks. A *runner* is a task that holds a slot of the process and runs ready jobs until
none is ready, the tenure stops, or its turn is over and another partition wants the slot. Most
receivers wait for nothing; a runner calls them without a task, a deadline or a coroutine of this
library in between. When a receiver waits, `Scheduler.pump` starts another runner.
"""

import asyncio
import time

from edgy_bus.runtime.attempts import Attempts
from edgy_bus.runtime.batches import Batches, Members
from edgy_bus.runtime.detours import Detours, key_of
from edgy_bus.runtime.executor import Begun, attempt, execute, execute_batch, finish
from edgy_bus.runtime.in_hand import InHand
from edgy_bus.runtime.jobs import Foreign, Job, Work
from edgy_bus.runtime.lanes import Lane
from edgy_bus.runtime.outcome import Again, Done, GiveUp, Outcome, crashed
from edgy_bus.runtime.owned import OwnedTasks
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
        tasks: OwnedTasks,
        detours: Detours,
    ) -> None:
        self._term = term
        self._slots = tools.slots
        self._deadline = tools.settings.deadline
        self._in_hand = in_hand
        self._lanes = in_hand.lanes
        self._tasks = tasks
        self._held = detours.held
        self._verdicts = Verdicts(term, tools, in_hand.acknowledger, detours)
        self._attempts = Attempts(term, in_hand.acknowledger)
        self._batches = Batches(self.pump)
        self._postponed: dict[Lane[Work], asyncio.TimerHandle] = {}

    def pump(self) -> None:
        """Start another runner if work is ready and a slot is free.

        Called whenever work may be ready, and before every wait of a runner.
        """
        if not (self._lanes.ready or self._batches.ready) or not self._term.may_begin():
            return
        # One runner at a time is enough: the runner calls `pump` before its first wait.
        if self._slots.take(self.pump):
            self._tasks.start(self._run(), self._runner_ended)

    def stop(self) -> None:
        """Drop gathered batches and postponed lanes; the next owner gets these entries."""
        self._slots.forget(self.pump)
        self._batches.stop()
        for timer in self._postponed.values():
            timer.cancel()
        self._postponed.clear()

    def _runner_ended(self) -> None:
        self._slots.give_back()
        self.pump()

    async def _run(self) -> None:
        """Run ready jobs, until no job is ready, or the turn is over and the slot is wanted."""
        loop, slots, term = asyncio.get_running_loop(), self._slots, self._term
        since = loop.time()
        while not term.stopping:
            now = loop.time()
            if now >= term.valid_until:
                return
            # Runners that wait for nothing run one after another, so the loop waits for all of
            # them.
            if (now - since) * slots.busy > _TURN:
                if slots.wanted:
                    return
                await asyncio.sleep(0)
                since = loop.time()
            elif batch := self._batches.take():
                await self._make_call(batch)
            elif lane := self._lanes.take():
                job = lane.jobs[0]
                if (
                    type(job) is Job
                    and job.plain
                    and not job.handling.notes
                    and not self._held.rows
                ):
                    # Nearly every job, and nearly every receiver waits for nothing: no coroutine
                    # of this library stands between the runner and the receiver.
                    answer = attempt(job.subscription, job.envelope)
                    if type(answer) is Done:
                        self._verdicts.done(job, answer)
                        self._finish(lane)
                    else:
                        await self._go_on_with(lane, job, answer)
                else:
                    await self._run_first(lane)
            else:
                return

    async def _go_on_with(self, lane: Lane[Work], job: Job, answer: Outcome | Begun) -> None:
        """Run the rest of a plain job, and conclude it."""
        if isinstance(answer, Begun):
            self.pump()
            answer = await finish(job.subscription, answer, self._deadline)
        await self._conclude(lane, job, answer)

    async def _run_first(self, lane: Lane[Work]) -> None:
        """Run the first job of a lane, unless the job has to wait."""
        job = lane.jobs[0]
        if isinstance(job, Foreign):
            self.pump()
            await self._verdicts.discard(job)
            self._finish(lane)
            return
        if job.handling.notes and job.note.due > time.time():
            self._postpone(lane, job.note.due)
            return
        if (
            self._held.rows
            and key_of(job) in self._held.rows
            and await self._park_behind(lane, job)
        ):
            return
        # After retries and held rows: a lane in a batch must be able to run at once.
        batch = job.subscription.receiver.options.batch
        if batch is not None and not job.alone:
            self._batches.add(lane, job, batch)
            return
        await self._make_call([(lane, job)])

    async def _make_call(self, members: Members) -> None:
        """Make one call with the first jobs of these lanes, and conclude each of the jobs."""
        if any(job.inherited for _, job in members):
            members = await self._count_attempts(members)
        if not members:
            return
        subscription = members[0][1].subscription
        envelopes = [job.envelope for _, job in members]
        shared = len(members) > 1
        if shared:
            outcomes = await execute_batch(subscription, envelopes, self._deadline, self.pump)
        else:
            outcomes = [await execute(subscription, envelopes[0], self._deadline, self.pump)]
        for (lane, job), outcome in zip(members, outcomes, strict=True):
            await self._conclude(lane, job, outcome, shared=shared)

    async def _count_attempts(self, members: Members) -> Members:
        """Count attempts before they are made; return the lanes whose jobs may be called now."""
        self.pump()
        begun: Members = []
        for lane, job in members:
            exhausted = crashed(job.note, job.subscription.receiver.options.retry)
            if exhausted is None:
                begun.append((lane, job))
            else:
                await self._give_up(lane, job, exhausted)
        if await self._attempts.count([job for _, job in begun]):
            return begun
        # The lease may have been renewed after all: the jobs are ready again for that case.
        for lane, _ in begun:
            self._lanes.give_back(lane)
        return []

    async def _conclude(
        self, lane: Lane[Work], job: Job, outcome: Outcome, *, shared: bool = False
    ) -> None:
        """Record the outcome of a call; the lane goes on, waits, or gives the event up."""
        decision = self._verdicts.conclude(job, outcome, shared=shared)
        if isinstance(decision, GiveUp):
            await self._give_up(lane, job, decision)
        elif isinstance(decision, Again):
            self._postpone(lane, decision.note.due)
        else:
            self._finish(lane)

    async def _give_up(self, lane: Lane[Work], job: Job, decision: GiveUp) -> None:
        self.pump()
        await self._verdicts.give_up(job, decision)
        self._finish(lane)

    async def _park_behind(self, lane: Lane[Work], job: Job) -> bool:
        """Park an event of a held row; False if the row is not held any more."""
        self.pump()
        if not await self._verdicts.park_behind(job):
            return False
        self._finish(lane)
        return True

    def _finish(self, lane: Lane[Work]) -> None:
        self._lanes.finish(lane)
        self._in_hand.check_room()

    def _postpone(self, lane: Lane[Work], due: float) -> None:
        """Let a lane wait until `due`, in seconds since 1970."""
        if self._term.stopping:
            # The timers were stopped; the next owner of the partition has this entry.
            return
        self._lanes.block(lane)
        self._in_hand.check_room()
        wait = max(0.0, due - time.time())
        self._postponed[lane] = asyncio.get_running_loop().call_later(wait, self._resume, lane)

    def _resume(self, lane: Lane[Work]) -> None:
        del self._postponed[lane]
        self._lanes.unblock(lane)
        self.pump()
