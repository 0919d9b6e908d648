"""Add the counts of a worker to the histories of its groups, every few seconds.

Nothing depends on a history: where the broker refuses a tally, the counts wait for the next.
"""

from collections.abc import Mapping

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Tally
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.runtime.jobs import Stats
from edgy_bus.services import Service
from edgy_bus.telemetry import catalogue

_EVERY = 5.0


class Tallies(Service):
    """Add what came since the last time, until the worker stops.

    Args:
        broker: keeps the histories.
        stats: group to the counts of this process, which only rise.
        version: the version of the program; empty if unknown.
    """

    # The end of a worker waits for a history no longer than that.
    stops_within = 2.0

    def __init__(self, broker: Broker, stats: Mapping[str, Stats], version: str) -> None:
        super().__init__()
        self._broker = broker
        self._stats = stats
        self._version = version
        self._added: dict[str, Tally] = {}
        self._failure = ""
        """The error that was reported last, until a tally succeeds."""

    async def run(self) -> None:
        while not self.stopping.is_set():
            await self.add()
            await self.pause(_EVERY)
        await self.add()

    async def add(self) -> None:
        """Add the counts of each group since the last call that succeeded."""
        try:
            for group, stats in self._stats.items():
                await self._add(group, stats)
        except BrokerUnavailable:
            return  # The consumers report an outage.
        except BrokerError as error:
            if str(error) != self._failure:
                self._failure = str(error)
                telemetry.emit(catalogue.TallyFailed(error=self._failure))
            return
        self._failure = ""

    async def _add(self, group: str, stats: Stats) -> None:
        total = Tally(stats.handled, stats.retries, stats.dead)
        new = total.since(self._added.get(group, Tally()))
        # The first tally says which version begins, also without work.
        begins = group not in self._added
        if any(new) or (begins and self._version):
            await self._broker.tally(group, new, self._version if begins else "")
        self._added[group] = total
