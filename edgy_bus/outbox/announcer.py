"""Publishes `pre_*` events in the background, without a promise.

An event that does not fit is dropped and counted: an operation never waits for the announcement of
its intent.
"""

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
"""Entries that a stream of `pre_*` events keeps, about."""

AT_ONCE = 500
"""Events that are sent together."""

LINGER = 0.02
"""Seconds that an event waits for more events to be sent with."""


class Announcer(Service):
    """Takes events without waiting, and sends them in the background.

    Events are dropped before `start` and after `stop`.
    """

    def __init__(self, broker: Broker, signer: Signer | None = None) -> None:
        super().__init__()
        self._signer = signer
        self.dropped = 0
        self._broker = broker
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(WAITING)

    def put(self, make: Callable[[], Event]) -> None:
        """Send the event that `make` returns, later or never.

        `make` is called at once, and only if there is room for the event.
        """
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
                if self._waiting.qsize() < AT_ONCE - 1:
                    await self.pause(LINGER)
                await self._send([first.result(), *self._take(AT_ONCE - 1)])
        finally:
            stopped.cancel()
            # Events that were taken before the stop are still sent, if the broker answers.
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
            # A model whose stream cannot be used must not take the events of other models along.
            try:
                await self._broker.announce(Partition(model, PRE), wires, KEPT)
            except BrokerError as error:
                self._drop(len(wires), str(error))

    def _packed(self, event: Event) -> Wire:
        wire = pack(event)
        if self._signer is None:
            return wire
        partition = Partition(event.model, PRE)
        signature = self._signer.sign(partition, wire.id.encode(), wire.header, wire.data)
        return wire._replace(signature=signature)

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        telemetry.emit(catalogue.AnnouncerDropped(count=count, reason=reason))
