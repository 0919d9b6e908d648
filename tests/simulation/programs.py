"""Simulate programs of one group with different receivers.

A worker that starts has some of the receivers, as an older release, another program of the group or
a canary has. Every receiver has a program at last: each program has all of them, or two programs
share them for ever. Operators pause receivers, and resume all of them at last, or receivers keep
others waiting at random times.
"""

import asyncio
import random as random_module

from edgy_bus.brokers.base import Enlisted
from edgy_bus.runtime.subscriptions import Subscription
from tests.simulation.loop import Process
from tests.simulation.world import MODEL, World

SIGNALS = (f"{MODEL}.post_save",)
RECEIVERS = {"ledger": ("write", "bulk"), "mail": ("held", "batch", "plain", "picky")}


class Programs(World):
    """Run workers that lack receivers of their groups."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.all_back = self.random.random() < 0.7
        # Drawn from other numbers: what happens otherwise depends on the seed as before.
        numbers = random_module.Random(self.seed)
        self.pauses = numbers if self.seed % 2 else None
        self.slowness = None if self.seed % 2 else numbers
        self._halves: dict[Process, int] = {}
        """Worker to its program, of two that share a group."""

    def _subscriptions(self, process: Process) -> list[Subscription]:
        subscriptions = super()._subscriptions(process)
        if self.writing:
            wanted = [each for each in subscriptions if self.random.random() < 0.6]
        elif self.all_back:
            wanted = subscriptions
        else:
            # Two programs, each of them as long as the other has no worker.
            running = {self._halves.get(each) for each in self._running()}
            half = self._halves[process] = 1 if 0 in running else 0
            wanted = subscriptions[half::2]
        return wanted or subscriptions

    async def _fault(self, kind: str) -> None:
        await super()._fault(kind)
        if kind == "flush":
            await self._list_all()

    async def _list_all(self) -> None:
        """List every receiver: programs that have them run elsewhere, too."""
        for group, names in RECEIVERS.items():
            enlisted = [Enlisted(name, SIGNALS) for name in names]
            await self.redis.enlist(group, enlisted, 1e9, begins=False)

    async def _chaos(self) -> None:
        await self._list_all()
        meanwhile = [
            asyncio.create_task(each())
            for each in (self._deploy, self._pause, self._keep_others_waiting)
        ]
        await super()._chaos()
        self.writing = False
        await asyncio.gather(*meanwhile)
        # The programs that run at last.
        workers = [member for member in self.members if member.process in self.workers]
        for member in workers:
            await self._kill(member)
        while not self.all_back and len(self._running()) < 2:
            self.members.append(self.start_worker())

    async def _deploy(self) -> None:
        """Replace a worker now and then by a program with other receivers."""
        while self.writing:
            await asyncio.sleep(self.random.expovariate(0.3))
            workers = [member for member in self.members if member.process in self.workers]
            if not workers:
                continue
            member = self.random.choice(workers)
            if self.random.random() < 0.5:
                # In an orderly way, before the process ends.
                self.loop.spawn(member.process, self.workers[member.process].stop())
                await asyncio.sleep(2.0)
            await self._kill(member)

    async def _pause(self) -> None:
        """Pause a receiver now and then, for a while or until it is resumed."""
        while self.writing and self.pauses is not None:
            await asyncio.sleep(self.pauses.expovariate(0.15))
            group = self.pauses.choice(sorted(RECEIVERS))
            receiver = self.pauses.choice(RECEIVERS[group])
            seconds = self.pauses.choice((None, self.pauses.uniform(0.5, 10.0)))
            await self.redis.pause(group, seconds, "", receiver=receiver)
            if seconds is None:
                await asyncio.sleep(self.pauses.uniform(0.5, 10.0))
                await self.redis.resume(group, receiver=receiver)
        for group, receivers in RECEIVERS.items():
            for receiver in receivers:
                await self.redis.resume(group, receiver=receiver)

    async def _keep_others_waiting(self) -> None:
        """Let a receiver count as slow now and then, whatever it does."""
        while self.writing and self.slowness is not None:
            await asyncio.sleep(self.slowness.expovariate(0.5))
            tenures = [
                tenure
                for process in self._running()
                for consumer in self.workers[process].consumers
                for tenure in consumer._tenures.values()
            ]
            if tenures:
                tenure = self.slowness.choice(tenures)
                attendance = tenure._detours.attendance
                if attendance.may_set_aside and len(attendance.called) > 1:
                    slow = self.slowness.choice(sorted(attendance.called))
                    tenure._slowness.receiver = slow

    def _running(self) -> list[Process]:
        return [member.process for member in self.members if member.process in self.workers]
