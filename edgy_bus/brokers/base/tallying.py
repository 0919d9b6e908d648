"""The tallies of groups: what their workers have done in each minute of the last day."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MINUTES = 1440
"""Minutes of a history: one day."""

VERSIONS = 20
"""Changes of the version that a history keeps, the latest."""


class Tally(NamedTuple):
    """Count the work of workers of a group.

    Attributes:
        handled: events that receivers have handled.
        retried: calls that failed, or asked for another attempt, and are repeated.
        dead: events that became dead letters.
    """

    handled: int = 0
    retried: int = 0
    dead: int = 0

    def plus(self, more: "Tally") -> "Tally":
        """Return the sum of two tallies."""
        return Tally(
            self.handled + more.handled, self.retried + more.retried, self.dead + more.dead
        )

    def since(self, earlier: "Tally") -> "Tally":
        """Return the difference to an earlier tally of the same counts."""
        counts = zip(self, earlier, strict=True)
        return Tally(*(now - before for now, before in counts))


@dataclass(frozen=True, slots=True)
class History:
    """Hold the last day of a group.

    Attributes:
        now: the time of the broker's clock, in seconds since 1970.
        minutes: minute since 1970 to its tally, of minutes with work.
        versions: when a worker with another version than the worker before began, and the version;
            oldest first.
    """

    now: float
    minutes: Mapping[int, Tally]
    versions: Sequence[tuple[float, str]]


# Not part of a worker's report, which is written anew several times in a second: a history outlives
# its workers, and grows with the time.
class Tallying(ABC):
    """Keep a history of each group. Needs no lease: nothing depends on a tally."""

    @abstractmethod
    async def tally(self, group: str, tally: Tally, version: str = "") -> None:
        """Add a tally to the present minute, by the broker's clock.

        With a version, a worker of this version begins. A call that is repeated counts twice.
        """

    @abstractmethod
    async def history(self, group: str) -> History:
        """Return the last `MINUTES` minutes of a group."""
