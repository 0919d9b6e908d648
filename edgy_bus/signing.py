"""Signatures of events, so that a worker can tell what its services wrote from what somebody else put on a stream.

HMAC-SHA256 (RFC 2104) over the stream's name, the event's id, header and data, each with its length before it. A signature names its
key, so that keys can be changed: give the new one to all workers, then put it first in the services, then take the old one away.
"""

import hashlib
import hmac
from collections.abc import Mapping

from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.events import Partition, check_name

FIELD = b"sig"
_SHORTEST = 16


class Signer:
    """Signs with the first of its keys (name to secret), and accepts all of them. Raises `ConfigurationError` for weak ones."""

    def __init__(self, keys: Mapping[str, str | bytes]) -> None:
        if not keys:
            raise ConfigurationError(
                "signing_keys is empty: give at least one key, or leave it out"
            )
        self._keys = {
            check_name(name, "the signing key"): _secret(name, secret)
            for name, secret in keys.items()
        }
        self._current = next(iter(self._keys))

    def sign(self, partition: Partition, event_id: bytes, header: bytes, data: bytes) -> bytes:
        digest = _digest(self._keys[self._current], partition, event_id, header, data)
        return f"{self._current}:{digest}".encode()

    def check(self, partition: Partition, fields: Mapping[bytes, bytes]) -> None:
        """Raises `EventError` if an entry of this stream is not signed with one of the keys."""
        name, _, digest = fields.get(FIELD, b"").decode("latin-1").rpartition(":")
        if not name:
            raise EventError("the entry is not signed")
        if name not in self._keys:
            raise EventError(
                f"the entry is signed with the key {name[:40]!r}, which is not known here"
            )
        parts = (fields.get(part, b"") for part in (b"id", b"head", b"data"))
        if not hmac.compare_digest(
            digest.encode(), _digest(self._keys[name], partition, *parts).encode()
        ):
            raise EventError("the entry's signature is wrong")


def _digest(secret: bytes, partition: Partition, *parts: bytes) -> str:
    made = hmac.new(secret, digestmod=hashlib.sha256)
    for part in (str(partition).encode(), *parts):
        made.update(len(part).to_bytes(8, "big") + part)
    return made.hexdigest()


def _secret(name: str, secret: str | bytes) -> bytes:
    raw = secret.encode() if isinstance(secret, str) else secret
    if len(raw) < _SHORTEST:
        raise ConfigurationError(
            f"the signing key {name!r} has {len(raw)} bytes: it needs {_SHORTEST} or more, at random"
        )
    return raw
