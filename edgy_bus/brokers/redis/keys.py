"""The names of all keys in Redis. The keys of a partition share a hash tag, for Redis Cluster."""

from dataclasses import dataclass
from typing import Self

from edgy_bus.brokers.base import RowKey
from edgy_bus.events import Partition


class Key(str):
    """Name a key, together with the type of the value that this package keeps there."""

    __slots__ = ("kind",)
    kind: str

    @classmethod
    def stream(cls, name: str) -> Self:
        """Return the key of a stream."""
        return cls._of(name, "stream")

    @classmethod
    def hash(cls, name: str) -> Self:
        """Return the key of a hash."""
        return cls._of(name, "hash")

    @classmethod
    def string(cls, name: str) -> Self:
        """Return the key of a string."""
        return cls._of(name, "string")

    @classmethod
    def sorted_set(cls, name: str) -> Self:
        """Return the key of a sorted set."""
        return cls._of(name, "zset")

    @classmethod
    def _of(cls, name: str, kind: str) -> Self:
        key = cls(name)
        key.kind = kind
        return key


@dataclass(frozen=True, slots=True)
class GroupKeys:
    """Name the keys of a group under a prefix: `edgy:{group:mail}:seen`."""

    prefix: str

    def seen(self, group: str) -> Key:
        """Return the key of a sorted set: worker to the time until which the worker is alive."""
        return Key.sorted_set(f"{self.prefix}:{{group:{group}}}:seen")

    def reports(self, group: str) -> Key:
        """Return the key of a hash: worker to its last report."""
        return Key.hash(f"{self.prefix}:{{group:{group}}}:reports")

    def paused(self, group: str) -> Key:
        """Return the key of a hash: paused receiver, or "" for the whole group, to its pause."""
        return Key.hash(f"{self.prefix}:{{group:{group}}}:paused")

    def tripped(self, group: str) -> Key:
        """Return the key of a hash: receiver to the trip of its breaker, as in `trip.lua`."""
        return Key.hash(f"{self.prefix}:{{group:{group}}}:tripped")

    def receivers(self, group: str) -> Key:
        """Return the key of a hash: receiver of the group to its line in the roster."""
        return Key.hash(f"{self.prefix}:{{group:{group}}}:receivers")

    def names(self, group: str) -> Key:
        """Return the key of a hash: other name of a receiver to its name in the roster."""
        return Key.hash(f"{self.prefix}:{{group:{group}}}:names")

    def nudge(self, group: str) -> Key:
        """Return the key of a counter, which rises to make workers look at their held rows."""
        return Key.string(f"{self.prefix}:{{group:{group}}}:nudge")

    def tallies(self, group: str) -> Key:
        """Return the key of a hash: minute of the day to its tally, as in `tally.lua`."""
        return Key.hash(f"{self.prefix}:{{group:{group}}}:tallies")


@dataclass(frozen=True, slots=True)
class Keys(GroupKeys):
    """Name all keys under a prefix: `edgy:{accounts.User:3}:events`."""

    def models(self) -> Key:
        """Return the key of a hash: model to its number of partitions."""
        return Key.hash(f"{self.prefix}:models")

    def tag(self, partition: Partition) -> str:
        """Return the beginning of every key of a partition."""
        return f"{self.prefix}:{{{partition}}}"

    def events(self, partition: Partition) -> Key:
        """Return the key of the stream."""
        return Key.stream(f"{self.tag(partition)}:events")

    def size(self, partition: Partition) -> Key:
        """Return the key of the number of entries and bytes in a stream of `pre_*` events."""
        return Key.string(f"{self.tag(partition)}:size")

    def epoch(self, partition: Partition) -> Key:
        """Return the key of the stream's epoch."""
        return Key.string(f"{self.tag(partition)}:epoch")

    def lease(self, partition: Partition, role: str) -> Key:
        """Return the key of a lease: its holder. Expires with the lease."""
        return Key.string(f"{self.tag(partition)}:lease:{role}")

    def fence(self, partition: Partition, role: str) -> Key:
        """Return the key of the number of tenures of a lease so far."""
        return Key.string(f"{self.tag(partition)}:fence:{role}")

    def last_holder(self, partition: Partition, role: str) -> Key:
        """Return the key of the last holder of a lease. It stays when the lease has ended."""
        return Key.string(f"{self.tag(partition)}:last:{role}")

    def notes(self, partition: Partition, group: str) -> Key:
        """Return the key of a hash: entry id to its notes, and `ENTRY RECEIVER` to an event id.

        The second kind of field is the proof that this event is kept for the receiver. Further
        fields are `ENTRY *kept`, the receivers of these proofs, `ENTRY *number`, the holder and the
        number of a note, and `writes`, the number of writes so far.
        """
        return Key.hash(f"{self.tag(partition)}:notes:{group}")

    def aside(self, partition: Partition, group: str) -> Key:
        """Return the key of a hash: receiver that is set aside to its state (`arrange.lua`)."""
        return Key.hash(f"{self.tag(partition)}:aside:{group}")

    def here(self, partition: Partition, group: str) -> Key:
        """Return the key of a hash: receiver that takes part to its floor (`arrange.lua`)."""
        return Key.hash(f"{self.tag(partition)}:here:{group}")

    def dead(self, partition: Partition, group: str) -> Key:
        """Return the key of a stream: the dead letters of a group."""
        return Key.stream(f"{self.tag(partition)}:dead:{group}")

    def removed(self, partition: Partition, group: str) -> Key:
        """Return the key of a string: how many dead letters the limits of a group removed."""
        # Not among the notes, which end with the group.
        return Key.string(f"{self.tag(partition)}:removed:{group}")

    def held(self, partition: Partition, group: str) -> Key:
        """Return the key of a hash: row to the state in which the row is held."""
        return Key.hash(f"{self.tag(partition)}:held:{group}")

    def parked(self, partition: Partition, group: str, row: RowKey) -> Key:
        """Return the key of a stream: the parked events of a held row."""
        return Key.stream(f"{self.tag(partition)}:parked:{group}:{row}")

    def relays(self) -> Key:
        """Return the key of a hash: relay to its line, as in `list_relay.lua`."""
        return Key.hash(f"{self.prefix}:relays")

    def actions(self) -> Key:
        """Return the key of a stream: the latest actions of operators."""
        return Key.stream(f"{self.prefix}:actions")

    def protocol(self) -> Key:
        """Return the key of a string: the protocol's version and its oldest version."""
        # Not a field of `models`: releases of protocol 1 take every field there for a model.
        return Key.string(f"{self.prefix}:protocol")
