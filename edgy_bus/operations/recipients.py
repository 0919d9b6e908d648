"""The receiver that events are addressed to, and whether workers honour the address."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from edgy_bus.brokers.base import Broker
from edgy_bus.errors import ConfigurationError
from edgy_bus.events import Partition, partitions_of
from edgy_bus.operations.groups import require_group
from edgy_bus.operations.receivers import ReceiverStatus, chosen, receivers
from edgy_bus.runtime.peers import Peer, read_peer

_PATIENCE = 30.0
"""Seconds to wait until all partitions know a new receiver."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A receiver of a group; an empty name stands for all receivers of the group."""

    group: str
    receiver: str

    def __str__(self) -> str:
        return f"{self.group}/{self.receiver}" if self.receiver else self.group

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

    @classmethod
    def parse_any(cls, text: str) -> Self:
        """Return the receiver of GROUP/RECEIVER, or all receivers of GROUP.

        Raises:
            ConfigurationError: for another text.
        """
        group, slash, receiver = text.partition("/")
        if not group or (slash and not receiver):
            raise ConfigurationError(
                f"{text!r} is neither a group nor a receiver: write GROUP or GROUP/RECEIVER; "
                "`edgy-bus receiver list` lists the receivers"
            )
        return cls(group, receiver)


async def require_ready(
    broker: Broker,
    recipient: Recipient,
    signals: Sequence[str],
    partitions: Sequence[Partition],
) -> Sequence[ReceiverStatus]:
    """Return the receivers that get events addressed to them, and nobody else does. Only reads.

    Args:
        broker: the broker.
        recipient: the receiver, or the group.
        signals: the signals of the events, as `accounts.User.post_save`.
        partitions: the partitions of the events.

    Raises:
        ConfigurationError: if there is no such receiver, if no receiver subscribes to a signal, or
            while a worker of an older release is alive.
    """
    listed = await receivers(broker, recipient.group)
    if not listed:
        await require_group(broker, recipient.group)
    # A receiver that is forgotten gets nothing, but its name may be a mistake: `chosen` says so.
    if recipient.receiver:
        listed = (chosen(listed, recipient.group, recipient.receiver),)
    ready = [each for each in listed if not each.forgotten and set(signals) & set(each.signals)]
    if not ready:
        subscribed = ", ".join(sorted({name for each in listed for name in each.signals}))
        raise ConfigurationError(
            f"the receiver {recipient} does not subscribe to {' or '.join(signals)}, so it would "
            f"not get the events: it subscribes to {subscribed or 'nothing'}"
        )
    await _refuse_older(broker, recipient.group, partitions)
    return ready


async def partitions_at(broker: Broker, model: str) -> Sequence[Partition]:
    """Return the partitions of a model that is published."""
    return partitions_of(model, (await broker.declared()).get(model, 0))


async def until_known(broker: Broker, model: str, recipients: Sequence[Recipient]) -> None:
    """Wait until every partition knows the receivers, so that no event passes one by.

    Raises:
        ConfigurationError: if partitions do not get to know a receiver.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + _PATIENCE
    # One after the other: the workers of the group list all of them at once.
    for recipient in recipients:
        while strangers := await strangers_to(broker, model, [recipient]):
            if clock() >= end:
                raise ConfigurationError(
                    f"{len(strangers)} partitions of {model} do not know the receiver {recipient} "
                    f"yet ({', '.join(map(str, strangers[:3]))}…), and would let its events pass: "
                    f"start workers of the group {recipient.group!r}"
                )
            await asyncio.sleep(0.2)


async def strangers_to(
    broker: Broker, model: str, recipients: Sequence[Recipient]
) -> list[Partition]:
    """Return the partitions of a model that do not know one of the receivers yet."""
    partitions = await partitions_at(broker, model)
    strangers: set[Partition] = set()
    for each in recipients:
        strangers.update(await broker.strangers_to(partitions, each.group, each.receiver))
    return sorted(strangers)


async def unfinished_by(
    broker: Broker, partitions: Sequence[Partition], recipients: Sequence[Recipient]
) -> int:
    """Return the entries that one of the receivers may have to finish."""
    # Of the group, and of the receivers' own groups where they are set aside.
    roles = {name for each in recipients for name in (each.group, str(each))}
    behind = 0
    for stream in await broker.survey(partitions) if partitions else ():
        surveys = [each for each in (*stream.groups, *stream.asides) if each.group in roles]
        lags = [each.unfinished + (each.unread or 0) for each in surveys]
        # A group that has not read the stream yet has everything to finish.
        behind += max(lags, default=stream.entries)
    return behind


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
