"""Run the relay and the workers of a test: nothing works between two calls of the test."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgy_bus.bus import Bus
from edgy_bus.outbox.relay import Relay
from edgy_bus.runtime.hooks import ErrorHook, FailedCall
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.services import happens
from edgy_bus.testing import chaos
from edgy_bus.testing.broker import InlineBroker, Turn
from edgy_bus.testing.calls import Calls
from edgy_bus.wiring import required

_KEPT = 31_622_400.0
"""Seconds for which streams keep their events: longer than a test lasts."""

_LOOK = 0.2
"""Seconds between two looks at a worker, of whose end no event tells."""


class Runs:
    """Publish and handle the events of a bus, one run of a worker after another.

    Attributes:
        app: the application's bus.
        broker: the broker of the test.
        calls: the calls of the receivers.
        failures: the failed calls since the last `clear`, without those of chaos.
    cut_off: the receivers that still ran when the patience of the test was over.
        cut_off: receivers that still ran when the patience of the test was over.
    """

    def __init__(self, app: Bus, mode: str) -> None:
        self.app = app
        self.broker = InlineBroker()
        self.calls = Calls(self.broker.changed.set)
        self.failures: list[FailedCall] = []
        self.cut_off: list[str] = []
        self.wiring = required(app.wiring, "the fixture of a test")
        self._mode = mode
        self._start = self.broker.remember()

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Return every receiver that runs in workers."""
        return self.app.subscriptions()

    def relays(self) -> Sequence[Relay]:
        """Return the relay of each outbox."""
        return self.wiring.relays() if self.app.registries else ()

    async def relay(self) -> None:
        """Publish what is in the outbox."""
        await self.wiring.send_announcements()
        for relay in self.relays():
            # A ring after this moment is about events that the steps below may not see.
            await relay.bell.wait(0)
            while await relay.step():
                continue

    def turns(self) -> list[Turn]:
        """Return the turns of receivers that are not finished."""
        return list(self.broker.turns(self.subscriptions))

    @contextmanager
    def substituted(self) -> Iterator[None]:
        """Put the broker of the test in the place of the application's broker."""
        # A single partition: a test has few rows, and a batch may have all of them.
        events = self.app.events.model_copy(update={"partitions": 1})
        relaying = self.app.relaying.model_copy(update={"keep": _KEPT, "retention": _KEPT})
        before, self.app.broker = self.app.broker, self.broker
        try:
            with self.wiring.substituted(self.broker, events, relaying):
                yield
        finally:
            self.app.broker = before

    async def declare(self) -> None:
        """Let workers look for the models that receivers listen to."""
        models = (model for source in self.app.registries for model in source.described())
        # Unknown models would be looked for once in a second only.
        ours = {f"{self.app.service}.{model.name}" for model in models}
        for model in {each.model for each in self.subscriptions}:
            await self.broker.declare(model, 1 if model in ours else 0)

    async def handle_due(self) -> None:
        """Publish, and let receivers handle what is due, with the chaos of the test."""
        await self.relay()
        if self.subscriptions and any(_due(self.turns())):
            for name, play in chaos.BEFORE.items():
                if name == self._mode:
                    await play(self._trip)
            await self._handle_for_good()
            for name, play in chaos.AFTER.items():
                if name == self._mode:
                    await play(self._trip)

    async def _handle_for_good(self) -> None:
        hooks: list[ErrorHook] = [*self.app.on_errors, self.failures.append]
        while any(_due(self.turns())):
            self.broker.make_due()
            await self._work(hooks)

    async def _trip(
        self, *, singly: bool = False, cut_at: int = 0, from_the_start: bool = False
    ) -> int:
        before = self.broker.remember()
        logger = logging.getLogger("edgy_bus")
        logger.addFilter(_nothing)
        if from_the_start:
            self.broker.go_back(self._start)
        self.broker.make_due()
        self.calls.cut_at, self.calls.cuts = cut_at, 0
        try:
            await self._work((), singly=singly)
        finally:
            self.calls.cut_at = 0
            logger.removeFilter(_nothing)
            self.broker.go_back(before)
        return self.calls.cuts

    async def _work(self, hooks: Sequence[ErrorHook], *, singly: bool = False) -> None:
        """Run a worker until everything that is due is handled."""
        await self.declare()
        worker = self._worker(hooks, singly=singly)
        await worker.start()
        try:
            await self._until_at_rest(worker)
        finally:
            self.cut_off = [call.receiver for call in self.calls.running]
            # A consumer that hands its leases over takes its time. Nobody waits for these.
            for consumer in worker.consumers:
                await consumer.abort()
            await worker.stop()
            self.broker.forget_workers()

    def _worker(self, hooks: Sequence[ErrorHook], *, singly: bool) -> Worker:
        recorded = [self.calls.subscription(each, singly=singly) for each in self.subscriptions]
        groups = sorted({each.group for each in recorded})
        # No other worker waits for these leases, however long a developer looks at a breakpoint.
        settings = self.app.working.model_copy(update={"lease": 3_600.0, "grace": 1.0})
        return self.wiring.worker(
            [Subscriptions(group, recorded) for group in groups], settings, None, hooks, ""
        )

    async def _until_at_rest(self, worker: Worker) -> None:
        while True:
            self.broker.changed.clear()
            if not worker.running:
                await worker.wait()  # raises the mistake that has ended the worker
            if self._is_at_rest():
                # Receivers may have written rows, whose events are to be handled as well.
                count = len(self.broker.published)
                await self.relay()
                if len(self.broker.published) == count:
                    return
                continue
            await happens(self.broker.changed, 0.2)

    def _is_at_rest(self) -> bool:
        """Return whether no call runs, and none can begin."""
        if self.calls.running:
            return False
        held_up: set[tuple[str, str]] = set()
        for turn in self.turns():
            if turn.note.due:
                held_up.add(turn.lane)
            elif turn.lane not in held_up:
                return False
        return True


def _nothing(_record: logging.LogRecord) -> bool:
    """Keep what happens on a trip out of the log: nothing of that is the program's trouble."""
    return False


def _due(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Yield the turns that wait for nothing."""
    held_up: set[tuple[str, str]] = set()
    for turn in turns:
        if turn.after > 0:
            held_up.add(turn.lane)
        elif turn.lane not in held_up:
            yield turn
