"""Publishes `pre_*` events in the background, without a promise: what does not fit is dropped and counted."""

import asyncio
from collections.abc import Callable

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.codec import Wire, pack
from edgy_bus.errors import BrokerError, EventError
from edgy_bus.events import PRE, Event, Partition
from edgy_bus.services import Service
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

WAITING = 5_000
"""Events in memory; more are dropped."""

KEPT = 10_000
"""Entries that a stream of `pre_*` events holds, about."""

BATCH = 500
LINGER = 0.02
"""Seconds that the first of a batch waits for others, where there are not enough of them."""


class Announcer(Service):
    """Takes events without waiting, and sends them when it can. Before `start` and after `stop` it drops them."""

    def __init__(self, broker: Broker, signer: Signer | None = None) -> None:
        super().__init__()
        self._signer = signer
        self.dropped = 0
        self._broker = broker
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(WAITING)

    def put(self, make: Callable[[], Event]) -> None:
        """Send what `make` makes, sometime, or never; it is called at once, if there is room."""
        if not self.running:
            self._drop(1, "the bus is not running")
        elif self._waiting.full():
            self._drop(1, "too many are waiting")
        else:
            self._waiting.put_nowait(make())

    async def run(self) -> None:
        stopped = asyncio.create_task(self.stopping.wait())
        try:
            while not self.stopping.is_set():
                first = asyncio.create_task(self._waiting.get())
                await asyncio.wait((first, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not first.done():
                    first.cancel()
                    return
                if self._waiting.qsize() < BATCH - 1:
                    await self.pause(LINGER)
                await self._send([first.result(), *self._take(BATCH - 1)])
        finally:
            stopped.cancel()
            await self._send(self._take(WAITING))

    def _take(self, count: int) -> list[Event]:
        return [self._waiting.get_nowait() for _ in range(min(count, self._waiting.qsize()))]

    async def _send(self, events: list[Event]) -> None:
        by_model: dict[str, list[Wire]] = {}
        for event in events:
            try:
                by_model.setdefault(event.model, []).append(self._packed(event))
            except EventError as error:
                self._drop(1, str(error))
        for model, wires in by_model.items():
            try:
                await self._broker.announce(Partition(model, PRE), wires, KEPT)
            except BrokerError as error:
                self._drop(len(wires), str(error))

    def _packed(self, event: Event) -> Wire:
        wire = pack(event)
        if self._signer is None:
            return wire
        partition = Partition(event.model, PRE)
        return wire._replace(
            signature=self._signer.sign(partition, wire.id.encode(), wire.header, wire.data)
        )

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        telemetry.emit(catalogue.AnnouncerDropped(count=count, reason=reason))
