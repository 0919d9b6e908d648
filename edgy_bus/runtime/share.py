"""Compute which partitions a worker should hold: the same result in every worker of the group."""

from collections.abc import Sequence

from edgy_bus.brokers.base import Members
from edgy_bus.events import PRE, Partition, partitions_of
from edgy_bus.runtime.asides import AsideWatch
from edgy_bus.runtime.assignment import Post, Shares
from edgy_bus.runtime.registrar import Registrar
from edgy_bus.runtime.roster import GroupRoster
from edgy_bus.runtime.subscriptions import Subscriptions


class Share:
    """Keep what decides about the partitions of a worker.

    Args:
        worker: the name of the worker in its group.
        subscriptions: those of the worker's program.
        roster: knows the receivers of the whole group.
        asides: knows the receivers that are set aside.
        registrar: knows how many partitions each model has.
    """

    def __init__(
        self,
        worker: str,
        subscriptions: Subscriptions,
        roster: GroupRoster,
        asides: AsideWatch,
        registrar: Registrar,
    ) -> None:
        self._worker = worker
        self._subscriptions = subscriptions
        self._roster = roster
        self._asides = asides
        self._registrar = registrar
        self._shares = Shares()

    async def posts(self, members: Members) -> set[Post]:
        """Return what the worker should hold.

        Among this are partitions from which receivers of this program are set aside.
        """
        group = self._subscriptions.group
        partitions = await self._partitions()
        owners = self._shares.owners(members.alive, partitions)
        whole = {Post(each, group) for each in partitions if owners.get(each) == self._worker}
        return whole | await self._asides.share(partitions, self._worker, self._roster.paused)

    async def _partitions(self) -> list[Partition]:
        """Return every partition that concerns the group."""
        # A model that was never published is not declared, and has no partitions yet. A later round
        # finds its partitions.
        declared = await self._registrar.declared()
        ordered: Sequence[str] = self._subscriptions.ordered_models
        pre: Sequence[str] = self._subscriptions.pre_models
        if self._roster.sets_aside:
            # Of the whole group: workers that assign different partitions come to different shares.
            ordered, pre = self._roster.models(pre=False), self._roster.models(pre=True)
        partitions = [
            partition
            for model in ordered
            for partition in partitions_of(model, declared.get(model, 0))
        ]
        return partitions + [Partition(model, PRE) for model in pre]
