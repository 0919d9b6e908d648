"""Notes the places that a view has looked at, and the places that do not answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edgy_bus.errors import BrokerError, DatabaseError, DatabaseUnavailable

BROKER = "the broker"


@dataclass(slots=True)
class Look:
    """The places of a view.

    Attributes:
        places: the places that were looked at.
        unreachable: the places that could not be looked at, each with the reason.
        gaps: sentences about facts that the view does not know.
    """

    # Changed while the view is read, so that a late failure keeps the earlier entries.

    places: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def at(self, place: str) -> AsyncIterator[None]:
        """Look at a place. A place that does not answer is noted, and the view goes on."""
        # A view of an outage is needed during the outage: no failure of a place ends the view.
        try:
            yield
        except (BrokerError, DatabaseUnavailable) as error:
            # A user of Redis without a right gets no answer either.
            self.unreachable.append(f"{place}: {error}")
        except DatabaseError as error:
            # A service that has never started has no tables; the other places may be well.
            self.unreachable.append(f"{place}: the outbox cannot be read: {error}")
        else:
            self.places.append(place)

    def missed(self, *gaps: str) -> None:
        """Note facts that are not known."""
        # Two streams may have the same gap.
        self.gaps += (gap for gap in gaps if gap not in self.gaps)
