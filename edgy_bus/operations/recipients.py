"""The receiver that events are addressed to, and whether workers honour the address."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from edgy_bus.brokers.base import Broker
from edgy_bus.errors import ConfigurationError
from edgy_bus.events import Partition
from edgy_bus.operations.groups import require_group
from edgy_bus.operations.receivers import ReceiverStatus, chosen, receivers
from edgy_bus.runtime.peers import Peer, read_peer


@dataclass(frozen=True, slots=True)
class Recipient:
    """A receiver of a group."""

    group: str
    receiver: str

    def __str__(self) -> str:
        return f"{self.group}/{self.receiver}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the receiver of GROUP/RECEIVER. Raises `ConfigurationError` for another text."""
        # The name of a receiver may contain a slash, the name of a group does not.
        group, _, receiver = text.partition("/")
        if not group or not receiver:
            raise ConfigurationError(
                f"{text!r} is no receiver: write GROUP/RECEIVER; `edgy-bus receiver list` lists "
                "the receivers"
            )
        return cls(group, receiver)


async def require_ready(
    broker: Broker, recipient: Recipient, signal: str, partitions: Sequence[Partition]
) -> ReceiverStatus:
    """Return a receiver that gets events addressed to it, and nobody else does. Only reads.

    Args:
        broker: the broker.
        recipient: the receiver.
        signal: the signal of the events, `accounts.User.post_save`.
        partitions: the partitions of the events.

    Raises:
        ConfigurationError: if there is no such receiver, if it does not subscribe to the signal, or
            while a worker of an older release is alive.
    """
    listed = await receivers(broker, recipient.group)
    if not listed:
        await require_group(broker, recipient.group)
    status = chosen(listed, recipient.group, recipient.receiver)
    if signal not in status.signals:
        subscribed = ", ".join(status.signals) or "nothing"
        raise ConfigurationError(
            f"the receiver {recipient} does not subscribe to {signal}, so it would not get the "
            f"events: it subscribes to {subscribed}"
        )
    await _refuse_older(broker, recipient.group, partitions)
    return status


async def _refuse_older(broker: Broker, group: str, partitions: Sequence[Partition]) -> None:
    """Raise `ConfigurationError` while workers of an older release read the partitions."""
    streams = await broker.survey(partitions) if partitions else ()
    readers = {each.group for stream in streams for each in stream.groups}
    older: list[str] = []
    for name in sorted({group, *readers}):
        members = await broker.members(name)
        for worker in sorted(members.alive):
            peer = read_peer(members.reports.get(worker, b""))
            if not _is_fit(peer, is_own=name == group):
                older.append(f"{worker} of {name}")
    if older:
        raise ConfigurationError(
            f"workers of an older release do not know events that are for one receiver: stop "
            f"{', '.join(older)}, or wait until they are replaced"
        )


def _is_fit(peer: Peer | None, *, is_own: bool) -> bool:
    # A worker without a report may be of any release.
    if peer is None:
        return False
    # An older worker of the group that lacks the receiver would let its events pass. A worker of
    # another group has to know only that the events are not for its receivers.
    return peer.knows_receivers_aside if is_own else peer.knows_addresses
