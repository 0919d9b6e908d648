"""The list of relays: which relays run, where, and which of them leads."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import EventError
from edgy_bus.events import Partition

RELAY = "relay"
"""The role of a relay's lease."""


def place_of(service: str, outbox: str) -> Partition:
    """Return what the lease of an outbox's relay is about, named like a partition."""
    # By the id as well: a service may have several databases, whose relays work side by side.
    return Partition(RELAY, f"{service}/{outbox}")


@dataclass(frozen=True, slots=True)
class RelayCard:
    """Say who a relay is, and where it runs.

    Attributes:
        owner: the name under which the relay takes its lease, unique to the relay.
        service: the service whose events the relay publishes.
        outbox: the id of the outbox.
        host: the name of the machine.
        process: the id of the process.
        version: the release of the program.
    """

    owner: str
    service: str
    outbox: str
    host: str
    process: int
    version: str

    @property
    def place(self) -> Partition:
        """Return what the lease of the relay is about."""
        return place_of(self.service, self.outbox)

    def packed(self) -> bytes:
        """Return the card as bytes, for a broker that keeps bytes."""
        return dumps(asdict(self))

    @classmethod
    def read(cls, packed: bytes) -> "RelayCard | None":
        """Return the card that `packed` wrote; None for bytes of another program."""
        try:
            values = loads(packed)
            texts = {name: values[name] for name in cls.__slots__}
            process = int(texts.pop("process"))
        except (EventError, AttributeError, LookupError, TypeError, ValueError):
            return None
        # A later release may add fields, which this release leaves alone.
        return cls(**{name: str(text) for name, text in texts.items()}, process=process)


@dataclass(frozen=True, slots=True)
class ListedRelay:
    """Describe a relay that was listed lately.

    Attributes:
        card: who the relay is.
        leads: whether the relay holds its lease now.
        since: since when the relay leads or stands by, in seconds since 1970 by the broker's clock.
    """

    card: RelayCard
    leads: bool
    since: float


class RelayList(ABC):
    """Keep the list of relays. Needs no lease, and no relay depends on the list."""

    @abstractmethod
    async def list_relay(self, card: RelayCard, ttl: float, age: float) -> None:
        """List a relay for `ttl` seconds, in place of its line before.

        `age` is the number of seconds for which the relay has led, or stood by, until now.

        Works on a broker that is full.
        """

    @abstractmethod
    async def unlist_relay(self, owner: str) -> None:
        """Remove a relay that ends from the list."""

    @abstractmethod
    async def relays(self) -> Sequence[ListedRelay]:
        """Return the relays whose time has not run out. Changes nothing."""
