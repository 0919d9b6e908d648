"""Groups as a whole: live workers, backlogs, and the removal of data."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base.values import (
    Backlog,
    EntryId,
    Members,
    Pause,
    Presence,
    Protocol,
)
from edgy_bus.events import Partition


class Administration(ABC):
    """Register workers, and look at or remove the data of groups. Needs no lease."""

    @abstractmethod
    async def keep_protocol(self, protocol: Protocol) -> Protocol:
        """Keep the greater version and the greater oldest of the stored and the new protocol.

        Return the protocol that is stored now. Needs no write where nothing rises, so that a full
        broker can answer.
        """

    @abstractmethod
    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        """Register a worker as alive for `ttl` seconds, with a report.

        An empty report leaves the worker's last report in place. Return the members without their
        reports, which every worker would read each second.
        """

    async def join_all(
        self, presences: Sequence[Presence], ttl: float
    ) -> Sequence[Members | BaseException]:
        """Return for each worker the answer or the error of `join`.

        Raises `BrokerUnavailable` if the outcome of all is unknown.
        """
        joining = (self.join(each.group, each.worker, ttl, each.report) for each in presences)
        return await asyncio.gather(*joining, return_exceptions=True)

    @abstractmethod
    async def leave(self, group: str, worker: str) -> None:
        """Remove a worker from the live workers of a group."""

    @abstractmethod
    async def members(self, group: str) -> Members:
        """Return the members of a group, with their reports."""

    @abstractmethod
    async def reports(self, group: str, workers: Sequence[str]) -> Mapping[str, bytes]:
        """Return the last reports of some workers of a group, without those that are not known."""

    @abstractmethod
    async def nudge(self, group: str) -> None:
        """Change the `nudge` that workers of a group receive when they `join`.

        The workers look at their held rows then, and find the rows that an operator has released
        or replayed.
        """

    @abstractmethod
    async def pause(
        self, group: str, seconds: float | None, note: str, *, receiver: str = ""
    ) -> Pause:
        """Pause a group, or one receiver of the group, in place of an earlier pause.

        The workers of the group receive the pause when they `join`, and begin no call. The pause
        ends by the broker's clock after `seconds`, or with `resume`; with None only with `resume`.
        `members` returns the pauses.
        """

    @abstractmethod
    async def resume(self, group: str, *, receiver: str = "") -> bool:
        """End the pause of a group, or of one receiver; return whether there was a pause."""

    @abstractmethod
    async def trip(self, group: str, receiver: str, seconds: float, step: int, reason: str) -> None:
        """Open the breaker of a receiver for some seconds, for the `step`-th time in a row.

        The workers of the group receive the trip when they `join`, until `reset`. A trip whose
        step is not above the stored one changes nothing: another worker has opened the breaker
        meanwhile.
        """

    @abstractmethod
    async def reset(self, group: str, receiver: str) -> bool:
        """Close the breaker of a receiver; return whether it had opened."""

    @abstractmethod
    async def backlog(self, partition: Partition) -> list[Backlog]:
        """Return the backlog of every group of a stream."""

    @abstractmethod
    async def oldest_unfinished(self, partition: Partition, group: str) -> EntryId | None:
        """Return the oldest entry that a group has not finished, whether read or unread.

        Return None if the group has finished every entry. A group that the stream does not have has
        finished no entry.
        """

    @abstractmethod
    async def forget(self, partition: Partition, group: str) -> None:
        """Remove a group and its notes from a stream. Dead letters and held rows stay."""

    @abstractmethod
    async def erase(self) -> None:
        """Remove all data under the broker's prefix. For tests and demonstrations."""
