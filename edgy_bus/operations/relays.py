"""The relays of all services: where they run, and which of them lead."""

from dataclasses import dataclass
from datetime import UTC, datetime

from edgy_bus.brokers.base import Broker


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """A relay that runs."""

    service: str
    outbox: str
    """The id of the outbox."""
    host: str
    process: int
    """The id of the process on its host."""
    version: str
    leads: bool
    """Whether the relay holds the lease of its outbox; otherwise it stands by."""
    since: datetime
    """Since when the relay leads or stands by, by the clock of the broker."""

    @property
    def place(self) -> str:
        """Return the host and the process."""
        return f"{self.host}:{self.process}"


async def relays(broker: Broker) -> tuple[RelayStatus, ...]:
    """Return the relays that were listed lately, the leader of each outbox first.

    Relays of earlier releases are not listed. Only reads.
    """
    listed = [
        RelayStatus(
            service=each.card.service,
            outbox=each.card.outbox,
            host=each.card.host,
            process=each.card.process,
            version=each.card.version,
            leads=each.leads,
            since=datetime.fromtimestamp(each.since, UTC),
        )
        for each in await broker.relays()
    ]
    # Two outboxes of a service have a leader each: they stand in two databases.
    listed.sort(key=lambda each: (each.service, each.outbox, not each.leads, each.place))
    return tuple(listed)
