"""The names of every key in Redis. All keys of one partition carry the same hash tag, so that a cluster keeps them together."""

from dataclasses import dataclass

from edgy_bus.brokers.base import RowKey
from edgy_bus.events import Partition


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under a prefix: `edgy:{accounts.User:3}:events`."""

    prefix: str

    def tag(self, partition: Partition) -> str:
        return f"{self.prefix}:{{{partition}}}"

    def events(self, partition: Partition) -> str:
        return f"{self.tag(partition)}:events"

    def epoch(self, partition: Partition) -> str:
        return f"{self.tag(partition)}:epoch"

    def lease(self, partition: Partition, role: str) -> str:
        return f"{self.tag(partition)}:lease:{role}"

    def fence(self, partition: Partition, role: str) -> str:
        """Counts the tenures of a lease."""
        return f"{self.tag(partition)}:fence:{role}"

    def notes(self, partition: Partition, group: str) -> str:
        """Hash: entry id to what is known about its unfinished receivers."""
        return f"{self.tag(partition)}:notes:{group}"

    def dead(self, partition: Partition, group: str) -> str:
        return f"{self.tag(partition)}:dead:{group}"

    def held(self, partition: Partition, group: str) -> str:
        """Hash: row to the state in which it is held."""
        return f"{self.tag(partition)}:held:{group}"

    def parked(self, partition: Partition, group: str, row: RowKey) -> str:
        """Stream: the events of a held row."""
        return f"{self.tag(partition)}:parked:{group}:{row}"

    def seen(self, group: str) -> str:
        """Sorted set: worker to the time until which it counts as alive."""
        return f"{self.prefix}:{{group:{group}}}:seen"

    def reports(self, group: str) -> str:
        return f"{self.prefix}:{{group:{group}}}:reports"

    def catalogue(self) -> str:
        """Hash: model to its number of partitions."""
        return f"{self.prefix}:models"

    def protocol(self) -> str:
        """Hash: `version` and `oldest`. A key of its own: old programs take every field of the catalogue for a model."""
        return f"{self.prefix}:protocol"
