"""Notes where an operator's view has looked, and what it could not see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edgy_bus.errors import BrokerUnavailable, DatabaseError, DatabaseUnavailable

BROKER = "the broker"


@dataclass(slots=True)
class Look:
    """Where a view has looked, and what it has not seen.

    Attributes:
        places: what was looked at.
        unreachable: what could not be looked at, and why.
        gaps: what is not known, and why.
    """

    places: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def at(self, place: str) -> AsyncIterator[None]:
        """Look at a place. A place that does not answer is noted, and the view goes on."""
        try:
            yield
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            self.unreachable.append(f"{place}: {error}")
        except DatabaseError as error:
            # A service that has never started has no tables; the other places may be well.
            self.unreachable.append(f"{place}: the outbox cannot be read: {error}")
        else:
            self.places.append(place)

    def missed(self, *gaps: str) -> None:
        """Note what is not known."""
        self.gaps += (gap for gap in gaps if gap not in self.gaps)
