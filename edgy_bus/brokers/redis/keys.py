"""The names of all keys in Redis. The keys of a partition share a hash tag, for Redis Cluster."""

from dataclasses import dataclass

from edgy_bus.brokers.base import RowKey
from edgy_bus.events import Partition


@dataclass(frozen=True, slots=True)
class Keys:
    """Name keys under a prefix: `edgy:{accounts.User:3}:events`."""

    prefix: str

    def models(self) -> str:
        """Return the key of a hash: model to its number of partitions."""
        return f"{self.prefix}:models"

    def tag(self, partition: Partition) -> str:
        """Return the beginning of every key of a partition."""
        return f"{self.prefix}:{{{partition}}}"

    def events(self, partition: Partition) -> str:
        """Return the key of the stream."""
        return f"{self.tag(partition)}:events"

    def epoch(self, partition: Partition) -> str:
        """Return the key of the stream's epoch."""
        return f"{self.tag(partition)}:epoch"

    def lease(self, partition: Partition, role: str) -> str:
        """Return the key of a lease: its holder. Expires with the lease."""
        return f"{self.tag(partition)}:lease:{role}"

    def fence(self, partition: Partition, role: str) -> str:
        """Return the key of a counter: the tenures of a lease so far."""
        return f"{self.tag(partition)}:fence:{role}"

    def notes(self, partition: Partition, group: str) -> str:
        """Return the key of a hash: entry id to its notes, and `ENTRY RECEIVER` to an event id.

        The second kind of field is the proof that this event is kept for the receiver.
        """
        return f"{self.tag(partition)}:notes:{group}"

    def dead(self, partition: Partition, group: str) -> str:
        """Return the key of a stream: the dead letters of a group."""
        return f"{self.tag(partition)}:dead:{group}"

    def held(self, partition: Partition, group: str) -> str:
        """Return the key of a hash: row to the state in which the row is held."""
        return f"{self.tag(partition)}:held:{group}"

    def parked(self, partition: Partition, group: str, row: RowKey) -> str:
        """Return the key of a stream: the parked events of a held row."""
        return f"{self.tag(partition)}:parked:{group}:{row}"

    def seen(self, group: str) -> str:
        """Return the key of a sorted set: worker to the time until which the worker is alive."""
        return f"{self.prefix}:{{group:{group}}}:seen"

    def reports(self, group: str) -> str:
        """Return the key of a hash: worker to its last report."""
        return f"{self.prefix}:{{group:{group}}}:reports"

    def protocol(self) -> str:
        """Return the key of the text `VERSION OLDEST`.

        Not a field of the catalogue: releases of protocol 1 take every field there for a model.
        """
        return f"{self.prefix}:protocol"
