"""Take part in the roster of a group: the durable list of its receivers, with or without a program.

Programs of one group may have different receivers: two programs that share a group, an older
release beside a newer release, a release in which a receiver was renamed. Only the roster knows all
of the receivers.
"""

import asyncio
from collections.abc import Iterable, Mapping

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Enlisted, Listed, Roster, Start
from edgy_bus.events import Partition
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions, belongs
from edgy_bus.telemetry import catalogue

_EVERY = 10.0
"""Seconds between two calls that say which receivers this program has."""

MISSING = 30.0
"""Seconds after which a receiver that no program has is missing."""


class GroupRoster:
    """Keep a group's roster up to date, and this process's copy of the roster.

    Args:
        retention: seconds after which a receiver that no program has is forgotten.

    Attributes:
        receivers: the receivers of the group, also those that this program does not have.
        forgotten: the receivers that the group does not wait for any more.
        sets_aside: whether receivers may be set aside: every live worker of the group knows them.
        paused: the receivers that operators have paused, if receivers may be set aside.
    """

    def __init__(self, broker: Broker, subscriptions: Subscriptions, retention: float) -> None:
        self.receivers: Mapping[str, Listed] = {}
        self.forgotten: Mapping[str, Listed] = {}
        self.sets_aside = False
        self.paused: frozenset[str] = frozenset()
        self._broker = broker
        self._group = subscriptions.group
        self._enlisted = enlisted(subscriptions.all)
        self._retention = retention
        self._version: str | None = None
        """The version of the copy; None before the first call."""
        self._next = 0.0
        self._suspects: set[str] = set()
        """The receivers that were missing at the last call."""
        self._reported: set[str] = set()

    async def renew(
        self, version: str, *, sets_aside: bool = True, paused: frozenset[str] = frozenset()
    ) -> bool:
        """Say which receivers this program has, now and then and when the roster has changed.

        Args:
            version: the roster's version, as this worker's registration returned it.
            sets_aside: whether every live worker of the group knows receivers that are set aside.
            paused: the receivers that operators have paused.

        Returns:
            Whether the state has changed since the last call.
        """
        before = self.state
        await self._renew(version)
        self.sets_aside = sets_aside
        # A receiver that cannot be set aside cannot wait: its events would pass it by.
        self.paused = paused if sets_aside else frozenset()
        return self.state != before

    async def _renew(self, version: str) -> None:
        now = asyncio.get_running_loop().time()
        if version == self._version and now < self._next:
            return
        roster = await self._broker.enlist(
            self._group, self._enlisted, self._retention, begins=self._version is None
        )
        self._version, self._next = roster.version, now + _EVERY
        listed = roster.receivers.items()
        self.receivers = {name: each for name, each in listed if not each.forgotten}
        self.forgotten = {name: each for name, each in listed if each.forgotten}
        self._report(roster)

    @property
    def state(self) -> object:
        """Return a value that changes whenever the receivers are to be arranged anew."""
        return (self._version, self.sets_aside, self.paused)

    def at(self, partition: Partition) -> dict[str, Listed]:
        """Return the receivers that events of a partition concern."""
        listed = self.receivers.items()
        return {name: each for name, each in listed if _is_at(each, partition)}

    def gone(self, partition: Partition) -> list[str]:
        """Return the receivers that a partition may know, and that it concerns no more."""
        unsubscribed = (
            name for name, each in self.receivers.items() if not _is_at(each, partition)
        )
        return [*self.forgotten, *unsubscribed]

    def models(self, *, pre: bool) -> list[str]:
        """Return the models with subscriptions to `pre_*` signals, or to others.

        Forgotten receivers count: the group has read the streams of their models, and these streams
        are trimmed only while the group reads on.
        """
        listed = (*self.receivers.values(), *self.forgotten.values())
        signals = (signal.rpartition(".") for each in listed for signal in each.signals)
        return sorted({model for model, _, name in signals if name.startswith("pre_") == pre})

    def _report(self, roster: Roster) -> None:
        for start in ("kept", "now"):
            added = sorted(name for name in roster.added if self.receivers[name].start == start)
            if added:
                notice = catalogue.ReceiversAdded(group=self._group, receivers=added, start=start)
                telemetry.emit(notice)
        if roster.dropped:
            dropped = sorted(roster.dropped)
            telemetry.emit(catalogue.ReceiversForgotten(group=self._group, receivers=dropped))
        self._report_missing(roster)

    def _report_missing(self, roster: Roster) -> None:
        missing = {name for name, each in self.receivers.items() if is_missing(each, roster.now)}
        # A receiver that is missing at the first call may belong to a program that starts now.
        confirmed = missing & self._suspects
        self._suspects = missing
        if confirmed - self._reported:
            notice = catalogue.ReceiversMissing(group=self._group, receivers=sorted(confirmed))
            telemetry.emit(notice)
        self._reported = (self._reported | confirmed) & missing


def _is_at(listed: Listed, partition: Partition) -> bool:
    signals = (signal.rpartition(".") for signal in listed.signals)
    return any(belongs(model, name, partition) for model, _, name in signals)


def is_missing(listed: Listed, now: float) -> bool:
    """Return whether no program has a receiver."""
    return not listed.forgotten and listed.seen < now - MISSING


def enlisted(subscriptions: Iterable[Subscription]) -> list[Enlisted]:
    """Return the receivers of some subscriptions, by name."""
    signals: dict[str, set[str]] = {}
    starts: dict[str, Start | None] = {}
    for each in subscriptions:
        signals.setdefault(each.name, set()).add(f"{each.model}.{each.signal}")
        starts[each.name] = starts.get(each.name) or each.receiver.options.start
    return [
        Enlisted(name, tuple(sorted(names)), starts[name])
        for name, names in sorted(signals.items())
    ]
