"""The connection and the key names that all roles of the Redis broker share."""

from edgy_bus.brokers.base import Lease, lease_lost, rolled_back
from edgy_bus.brokers.redis.client import make_client
from edgy_bus.brokers.redis.conversations import Conversations
from edgy_bus.brokers.redis.keys import Keys
from edgy_bus.brokers.redis.scripts import Answer, Scripts
from edgy_bus.events import Partition, check_name

# Both end the tenure. The next owner finds the state of the entries in the broker.
_REFUSALS = {b"lost": lease_lost, b"rolled_back": rolled_back}


class RedisCore:
    """Hold the client, its scripts and the names of keys. Every key begins with `prefix`."""

    def __init__(self, url: str, prefix: str = "edgy") -> None:
        self.keys = Keys(check_name(prefix, "the prefix"))
        self._url = url
        self._client = make_client(url)
        self._conversations = Conversations()
        self._scripts = Scripts(self._client, self._conversations)

    def _stream_keys(self, partition: Partition) -> tuple[str, str]:
        """Return the keys that the publisher's scripts compare."""
        return self.keys.events(partition), self.keys.epoch(partition)

    def _tenure_keys(self, lease: Lease) -> tuple[str, str, str]:
        """Return the keys that a consumer's scripts compare, and the notes."""
        partition, group = lease.partition, lease.role
        return (
            self.keys.lease(partition, group),
            self.keys.epoch(partition),
            self.keys.notes(partition, group),
        )


def require_tenure(answer: Answer, lease: Lease) -> None:
    """Raise `LeaseLost` if a script refused because of the lease or of lost data."""
    if answer.refusal is not None:
        raise _REFUSALS[answer.refusal](lease)
