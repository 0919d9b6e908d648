"""Publishes `pre_*` events in the background, without a promise.

An event that does not fit is dropped and counted: an operation never waits for the announcement of
its intent.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.codec import Wire, pack
from edgy_bus.errors import BrokerError, EventError
from edgy_bus.events import PRE, Event, Partition
from edgy_bus.services import Bell, Service
from edgy_bus.settings import EventSettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

WAITING = 5_000
"""Events in memory; more are dropped."""

WAITING_BYTES = 16_000_000
"""Bytes of the events in memory; more are dropped. The events that are being sent count too."""

AT_ONCE = 500
AT_ONCE_BYTES = 1_000_000
"""Events, and about the bytes, that are sent together: a script must not keep the broker busy."""

LINGER = 0.02
"""Seconds that an event waits for more events to be sent with."""

REPORTED_EVERY = 60.0
"""Seconds between two reports of dropped events with the same reason."""

_LONGEST_WAIT = 60.0


class _Waiting(NamedTuple):
    model: str
    wire: Wire

    @property
    def size(self) -> int:
        return _size(self.wire)


def _size(wire: Wire) -> int:
    return len(wire.header) + len(wire.data)


class Announcer(Service):
    """Takes events without waiting, and sends them in the background.

    Events are dropped before `start` and after `stop`.
    """

    def __init__(
        self, broker: Broker, settings: EventSettings, signer: Signer | None = None
    ) -> None:
        super().__init__()
        self.dropped = 0
        self._broker = broker
        self._settings = settings
        self._signer = signer
        self._bell = Bell()
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        """Of the events that wait or are being sent."""
        self._drops = Drops()

    def put(self, make: Callable[[], Event]) -> None:
        """Send the event that `make` returns, later or never.

        `make` is called at once, and only if there is room for the event.
        """
        if not self.running:
            self._drop(1, "the bus is not running")
        elif len(self._waiting) >= WAITING or self._bytes >= WAITING_BYTES:
            self._drop(1, "too many are waiting")
        else:
            self._encode(make())

    def _encode(self, event: Event) -> None:
        # Encoded now, because only the bytes tell the size. Nothing is encoded a second time.
        try:
            waiting = _Waiting(event.model, self._packed(event))
        except EventError:
            self._drop(1, "it cannot be written as JSON")
            return
        if len(waiting.wire.data) > self._settings.max_bytes:
            self._drop(1, "it is larger than EventSettings(max_bytes=…)")
        elif self._bytes + waiting.size > WAITING_BYTES:
            self._drop(1, "too many are waiting")
        else:
            self._waiting.append(waiting)
            self._bytes += waiting.size
            self._bell.ring()

    def _packed(self, event: Event) -> Wire:
        wire = pack(event)
        if self._signer is None:
            return wire
        partition = Partition(event.model, PRE)
        signature = self._signer.sign(partition, wire.id.encode(), wire.header, wire.data)
        return wire._replace(signature=signature)

    def ask_to_stop(self) -> None:
        super().ask_to_stop()
        self._bell.ring()

    async def run(self) -> None:
        try:
            while not self.stopping.is_set():
                self.progress.note(rests=_LONGEST_WAIT)
                await self._bell.wait(_LONGEST_WAIT)
                await self.pause(LINGER)
                await self._send_all()
        finally:
            # Events that were taken before the stop are still sent, if the broker answers.
            await self._send_all()
            self._drops.report_all()

    async def _send_all(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        by_model: dict[str, list[Wire]] = {}
        for model, wire in waiting:
            by_model.setdefault(model, []).append(wire)
        unsent = len(waiting)
        try:
            for model, wires in by_model.items():
                for chunk in _chunks(wires):
                    await self._send(Partition(model, PRE), chunk)
                    unsent -= len(chunk)
        finally:
            self._bytes -= sum(each.size for each in waiting)
            # More than none after a cancellation, or an error that `_send` does not know.
            if unsent:
                stopped = self.stopping.is_set()
                self._drop(unsent, "the bus is not running" if stopped else "sending has failed")

    async def _send(self, partition: Partition, wires: Sequence[Wire]) -> None:
        # A model whose stream cannot be used must not take the events of other models along.
        try:
            missed = await self._broker.announce(partition, wires, self._settings.pre_bytes)
        except BrokerError as error:
            self._drop(len(wires), type(error).__name__)
        else:
            if missed:
                self._drop(missed, "the stream is full, and a group had not read them")

    def _drop(self, count: int, reason: str) -> None:
        self.dropped += count
        self._drops.add(count, reason, asyncio.get_running_loop().time())


class Drops:
    """Reports the first drop with a reason at once, and later drops together, now and then."""

    def __init__(self) -> None:
        self._unreported: Counter[str] = Counter()
        self._next: dict[str, float] = {}

    def add(self, count: int, reason: str, now: float) -> None:
        """Count dropped events; report them if the last report was long ago."""
        self._unreported[reason] += count
        if now >= self._next.get(reason, now):
            self._next[reason] = now + REPORTED_EVERY
            self._report(reason)

    def report_all(self) -> None:
        """Report everything that was counted since the last report."""
        for reason in list(self._unreported):
            self._report(reason)

    def _report(self, reason: str) -> None:
        count = self._unreported.pop(reason)
        telemetry.emit(catalogue.AnnouncerDropped(count=count, reason=reason))


def _chunks(wires: Sequence[Wire]) -> Iterator[Sequence[Wire]]:
    """Cut events into chunks of at most `AT_ONCE` events and about `AT_ONCE_BYTES`."""
    start, size = 0, 0
    for end, wire in enumerate(wires):
        size += _size(wire)
        if end - start == AT_ONCE or (end > start and size > AT_ONCE_BYTES):
            yield wires[start:end]
            start, size = end, _size(wire)
    yield wires[start:]
