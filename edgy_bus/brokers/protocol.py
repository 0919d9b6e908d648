"""The version of what programs write to a broker: keys, entries, notes and reports.

Programs of different releases work side by side during a rolling upgrade. The broker keeps the
newest protocol that any program of the prefix speaks, and the oldest protocol that may still take
part. A program that is too old raises an error instead of misreading the keys. A flush of the
broker forgets both, so that programs renew them.
"""

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Protocol
from edgy_bus.errors import ConfigurationError
from edgy_bus.telemetry import catalogue

PROTOCOL = Protocol(version=3, oldest=1)
"""The protocol of this release.

Version 1 are releases that keep no protocol. Version 2 adds `to`, `causationid` and the attributes
of a context to the headers of events; programs of version 1 ignore the last two, and give an event
with `to` to all of their receivers. Version 3 sets receivers aside; workers wait with that until no
live worker of their group speaks an older version. A relay of an older version takes the own group
of a receiver for a group of the database, which newer relays leave out.
"""


class Agreement:
    """A program's agreement with programs of other releases."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._newest = PROTOCOL.version

    async def renew(self) -> None:
        """Make this release's protocol known. Reports a newer protocol, once.

        Raises `ConfigurationError` where programs as old as this release cannot take part any more.
        """
        kept = await self._broker.keep_protocol(PROTOCOL)
        if kept.oldest > PROTOCOL.version:
            raise ConfigurationError(
                f"the broker's keys have protocol {kept.version}, which programs of protocol "
                f"{kept.oldest} or newer can use; this program speaks {PROTOCOL.version}: stop it, "
                "and start a release of edgy-bus that is as new as the other programs of this "
                "prefix"
            )
        if kept.version > self._newest:
            telemetry.emit(catalogue.ProtocolIsNewer(version=kept.version, spoken=PROTOCOL.version))
        self._newest = max(self._newest, kept.version)
