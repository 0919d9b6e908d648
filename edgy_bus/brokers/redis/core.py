"""The connection and the key names that all roles of the Redis broker share."""

from typing import Any

from edgy_bus.brokers.base import Lease, lease_lost, rolled_back
from edgy_bus.brokers.redis.connections import Argument, Connections
from edgy_bus.brokers.redis.conversations import Conversations
from edgy_bus.brokers.redis.keys import Key, Keys
from edgy_bus.brokers.redis.limits import Limits
from edgy_bus.brokers.redis.scripts import Answer, Scripts
from edgy_bus.brokers.redis.url import read_url
from edgy_bus.events import Partition, check_name

# Both end the tenure. The next owner finds the state of the entries in the broker.
_REFUSALS = {b"lost": lease_lost, b"rolled_back": rolled_back}


class RedisCore:
    """Hold the client, its scripts and the names of keys. Every key begins with `prefix`."""

    def __init__(self, url: str, prefix: str = "edgy") -> None:
        self.keys = Keys(check_name(prefix, "the prefix"))
        address = read_url(url)
        self._connections = Connections(address)
        self._limits = Limits()
        self._scripts = Scripts(self._connections, Conversations(address.connections))

    async def _ask(self, name: str, key: Key, *arguments: Argument) -> Any:
        """Return the reply to a command about a key. A value of another type is moved away."""
        (reply,) = await self._scripts.ask([(name, key, *arguments)], (key,))
        return reply

    def _stream_keys(self, partition: Partition) -> tuple[Key, Key]:
        """Return the keys that the publisher's scripts compare."""
        return self.keys.events(partition), self.keys.epoch(partition)

    def _tenure_keys(self, lease: Lease) -> tuple[Key, Key, Key]:
        """Return the keys that a consumer's scripts compare, and the notes."""
        partition, group = lease.partition, lease.role
        return (
            self.keys.lease(partition, group),
            self.keys.epoch(partition),
            self.keys.notes(partition, group),
        )


def require_tenure(answer: Answer, lease: Lease) -> None:
    """Raise `LeaseLost` if a script refused because of the lease or of lost data.

    Otherwise the tenure knows from now on that the broker has the script's write.
    """
    if answer.refusal is not None:
        raise _REFUSALS[answer.refusal](lease)
    if (write := answer.get(b"writes")) is not None:
        lease.confirmed.learn(int(write))
