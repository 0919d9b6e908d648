"""Keep the breakers of a group's receivers in this process, in step with the broker."""

from collections.abc import Callable, Mapping

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Trip
from edgy_bus.codec import Envelope
from edgy_bus.runtime.breaker import Circuit, Opening
from edgy_bus.runtime.outcome import Done, Failed, Outcome
from edgy_bus.runtime.slots import ReceiverSlots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.signals import Breaker
from edgy_bus.signals.options import DEFAULT_BREAKER
from edgy_bus.telemetry import catalogue

_LONGEST_REASON = 200
"""Characters of an error that every worker reads in every round."""


class Breakers:
    """Hold the breakers that are not closed, or whose last calls have failed.

    Args:
        calls: the calls of a receiver that may wait at the same time while its breaker is closed.
        wake: begins the next round of the consumer at once.

    Attributes:
        slots: limits the calls of each receiver: to none while its breaker is open, to one while
            the breaker is half-open.
        circuits: receiver to its breaker. Nearly always empty, and read after every call.
    """

    def __init__(
        self,
        broker: Broker,
        subscriptions: Subscriptions,
        calls: int,
        wake: Callable[[], None],
    ) -> None:
        self.circuits: dict[str, Circuit] = {}
        self._broker = broker
        self._group = subscriptions.group
        self._breakers: dict[str, Breaker | None] = {}
        # A receiver may subscribe several times, and name its breaker once.
        for each in subscriptions.all:
            breaker = each.receiver.options.breaker
            if each.name not in self._breakers or breaker != DEFAULT_BREAKER:
                self._breakers[each.name] = breaker
        self.slots = ReceiverSlots(calls)
        self._wake = wake
        self._closing: set[str] = set()
        """Receivers whose breakers the broker has yet to close."""

    @property
    def open(self) -> frozenset[str]:
        """Return the receivers that are not to be called."""
        return frozenset(name for name, circuit in self.circuits.items() if circuit.is_open)

    @property
    def at_rest(self) -> frozenset[str]:
        """Return the receivers that are not to be called, and of which no call runs here.

        They can be set aside at once. A call that hangs would keep a whole partition waiting.
        """
        return frozenset(name for name in self.open if not self.slots.busy(name))

    def judge(self, receiver: str, envelope: Envelope, outcome: Outcome) -> None:
        """Take note of a call with a single event."""
        if isinstance(outcome, Failed):
            self.failed(receiver, envelope, outcome.reason, shared=False)
        elif isinstance(outcome, Done) and not outcome.skipped and receiver in self.circuits:
            self.succeeded(receiver)

    def failed(self, receiver: str, envelope: Envelope, reason: str, *, shared: bool) -> None:
        """Take note of a call that has failed.

        Args:
            receiver: the receiver.
            envelope: the event.
            reason: the error.
            shared: whether the call had other events too. Such a failure is a single call, whose
                events are tried again alone and count then; it opens a half-open breaker.
        """
        breaker = self._breakers[receiver]
        if breaker is None:
            return
        circuit = self.circuits.setdefault(receiver, Circuit(breaker))
        if shared and circuit.trip is None:
            return
        # An event without a row is a row of its own.
        row = (envelope.model, envelope.subject or envelope.id)
        if circuit.fail(row, reason[:_LONGEST_REASON]):
            # At once: until the broker knows, other calls of this process would fail as well.
            self.slots.limit(receiver, 0)
            self._wake()

    def succeeded(self, receiver: str) -> None:
        """Take note of a call that has succeeded, of a receiver in `circuits`."""
        circuit = self.circuits[receiver]
        if circuit.trip is not None or circuit.opening is not None:
            self._closing.add(receiver)
            self._wake()
        self._forget(receiver)

    async def exchange(self) -> None:
        """Tell the broker what this process has learned. Raises `BrokerUnavailable`."""
        for receiver in sorted(self._closing):
            await self._broker.reset(self._group, receiver)
            self._closing.discard(receiver)
            telemetry.emit(catalogue.BreakerClosed(group=self._group, receiver=receiver))
        for receiver, circuit in sorted(self.circuits.items()):
            if circuit.opening is not None:
                await self._open(receiver, circuit.opening)
                # A call may have succeeded meanwhile: then this circuit is not used any more.
                circuit.opened(circuit.opening)

    async def _open(self, receiver: str, opening: Opening) -> None:
        seconds, reason = opening.seconds, opening.reason
        await self._broker.trip(self._group, receiver, seconds, opening.step, reason)
        telemetry.emit(
            catalogue.BreakerOpened(
                group=self._group, receiver=receiver, seconds=seconds, reason=reason
            )
        )

    def note(self, tripped: Mapping[str, Trip]) -> None:
        """Take note of the trips that the broker has answered after `exchange`."""
        for receiver, trip in tripped.items():
            breaker = self._breakers.get(receiver)
            # A success that the broker does not know yet counts more than its answer.
            if breaker is not None and receiver not in self._closing:
                self.circuits.setdefault(receiver, Circuit(breaker)).trip = trip
        for receiver, circuit in list(self.circuits.items()):
            # Another process, or an operator, has closed the breaker.
            if circuit.trip is not None and receiver not in tripped:
                self._forget(receiver)
            else:
                self.slots.limit(receiver, circuit.limit(self.slots.busy(receiver)))

    def _forget(self, receiver: str) -> None:
        """Begin to count from zero: a call has succeeded, here or elsewhere."""
        self.circuits.pop(receiver, None)
        self.slots.limit(receiver, None)
