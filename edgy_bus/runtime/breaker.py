"""Decide when the breaker of a receiver opens: a circuit breaker, by its usual name.

Pure: no clock, no broker. See M. Nygard, "Release It!", for the pattern. The broker keeps the state
of a breaker that has opened (`Trip`), so that all workers of the group share the state:

- closed: no trip. Calls run; each process counts the rows whose last calls have failed.
- open: no worker calls the receiver, which is set aside.
- half-open: the time of the trip is over. Each process makes one call at a time. A failure opens
  the breaker again, for twice as long; a success closes the breaker.
"""

from dataclasses import dataclass, field

from edgy_bus.brokers.base import Trip
from edgy_bus.signals import Breaker


@dataclass(frozen=True, slots=True)
class Opening:
    """Ask the broker to open a breaker.

    Attributes:
        seconds: how long the breaker stays open.
        step: how often it has opened since the last success.
        reason: the error of the call that opened it.
    """

    seconds: float
    step: int
    reason: str


@dataclass(slots=True)
class Circuit:
    """Know the failed calls of a receiver in this process since its last success.

    Attributes:
        breaker: the numbers of the breaker.
        rows: model and key of the rows with a failed call.
        trip: the state that the broker has answered last; None while the breaker is closed.
        opening: what this process has yet to write to the broker.
        hanging: calls that began before the breaker opened and have not ended, once it is
            half-open: they keep their slots, and no call from trying.
    """

    breaker: Breaker
    rows: set[tuple[str, str]] = field(default_factory=set)
    trip: Trip | None = None
    opening: Opening | None = None
    hanging: int | None = None

    @property
    def is_open(self) -> bool:
        """Return whether no call may begin."""
        return self.opening is not None or (self.trip is not None and self.trip.is_open)

    def limit(self, running: int) -> int | None:
        """Return how many calls of the receiver may run in this process; None: as many as usual.

        Args:
            running: the calls that run.
        """
        if self.is_open:
            self.hanging = None
            return 0
        if self.trip is None or self._lasts(self.trip):
            return None
        self.hanging = running if self.hanging is None else min(self.hanging, running)
        return self.hanging + 1

    def fail(self, row: tuple[str, str], reason: str) -> bool:
        """Count a failed call; return whether the breaker opens because of this call."""
        # A call that ran when the breaker opened says nothing new.
        if self.is_open:
            return False
        if self.trip is None:
            # One bad row fails for ever, and is no reason to keep the others waiting.
            self.rows.add(row)
            if len(self.rows) < self.breaker.failures:
                return False
        elif self._lasts(self.trip):
            return False
        step = 1 if self.trip is None else self.trip.step + 1
        seconds = min(self.breaker.most, self.breaker.first * 2.0 ** min(step - 1, 30))
        self.opening = Opening(seconds, step, reason)
        return True

    def opened(self, opening: Opening) -> None:
        """Take note that the broker has opened the breaker."""
        age = 0.0 if self.trip is None else self.trip.age
        self.trip = Trip(opening.seconds, age, opening.step, opening.reason)
        self.opening = None

    def _lasts(self, trip: Trip) -> bool:
        """Return whether the receiver fails for so long that its own `retry` decides again."""
        return trip.age >= self.breaker.lasting
