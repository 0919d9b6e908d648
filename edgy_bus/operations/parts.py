"""The parts of a bus that operations work with."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgy_bus.brokers.base import Broker
from edgy_bus.outbox.encoding import EventEncoder
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.writer import OutboxWriter
from edgy_bus.signing import Signer
from edgy_bus.sources import Source


@dataclass(frozen=True, slots=True)
class Publisher:
    """The models of a source, and the outbox, the writer and the encoder of their events."""

    source: Source
    store: OutboxStore
    writer: OutboxWriter
    encoder: EventEncoder


@dataclass(frozen=True, slots=True)
class Parts:
    """A broker, and the outboxes of a service where an operation needs its databases.

    The broker connects at its first use. The maker of the parts holds their connections. `signer`
    has the keys of a bus that signs its events, `publishers` the models behind the outboxes.
    """

    broker: Broker
    service: str
    outboxes: Sequence[OutboxStore] = ()
    signer: Signer | None = None
    publishers: Sequence[Publisher] = ()


def outbox_name(store: OutboxStore) -> str:
    """Return the kind, the host and the name of an outbox's database, without user and password."""
    # Named part by part: the URL as a whole contains the password.
    url = store.database.url
    return f"{url.dialect}://{url.hostname or ''}/{url.database}"
