"""Sign events, so that a worker can reject entries that none of its services wrote.

A signature is an HMAC-SHA256 (RFC 2104) over the stream's name and the event's id, header and data.
A signature names its key, so that keys can be changed without a pause: give the new key to all
workers, then put the new key first in the services, then remove the old key.
"""

import hashlib
import hmac
from collections.abc import Mapping

from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.events import Partition, check_name

FIELD = b"sig"
"""The field of a stream entry that holds the signature."""

_SHORTEST = 16


class Signer:
    """Sign with the first key, and accept signatures of every key.

    Args:
        keys: secrets by name, of at least 16 bytes each; the first entry signs.

    Raises:
        ConfigurationError: if `keys` is empty, or a secret is too short.
    """

    def __init__(self, keys: Mapping[str, str | bytes]) -> None:
        if not keys:
            raise ConfigurationError(
                "signing_keys is empty: give at least one key, or leave the option out"
            )
        self._keys: dict[str, bytes] = {}
        for name, secret in keys.items():
            self._keys[check_name(name, "the signing key")] = _secret(name, secret)
        self._current = next(iter(self._keys))

    def sign(self, partition: Partition, event_id: bytes, header: bytes, data: bytes) -> bytes:
        """Return the signature of an event, as `KEY_NAME:HEX_DIGEST`."""
        digest = _digest(self._keys[self._current], partition, event_id, header, data)
        return f"{self._current}:{digest}".encode()

    def check(self, partition: Partition, fields: Mapping[bytes, bytes]) -> None:
        """Verify the signature of a stream entry.

        Raises:
            EventError: if the signature is missing, names an unknown key, or does not match.
        """
        # latin-1 decodes any byte: a forged signature must end in an EventError, not in a
        # UnicodeDecodeError that would stop the partition.
        name, _, digest = fields.get(FIELD, b"").decode("latin-1").rpartition(":")
        if not name:
            raise EventError("the entry is not signed")
        if name not in self._keys:
            raise EventError(
                f"the entry is signed with the key {name[:40]!r}, which is not known here"
            )
        parts = [fields.get(field, b"") for field in (b"id", b"head", b"data")]
        expected = _digest(self._keys[name], partition, *parts)
        # compare_digest takes the same time for every input: timing reveals nothing of the digest.
        if not hmac.compare_digest(digest.encode(), expected.encode()):
            raise EventError("the entry's signature is wrong")


def _digest(secret: bytes, partition: Partition, *parts: bytes) -> str:
    digest = hmac.new(secret, digestmod=hashlib.sha256)
    # The stream's name is signed too: a valid entry that is copied to another stream is rejected.
    # The length before each part keeps bytes from moving between parts under the same digest.
    for part in (str(partition).encode(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _secret(name: str, secret: str | bytes) -> bytes:
    raw = secret.encode() if isinstance(secret, str) else secret
    if len(raw) < _SHORTEST:
        raise ConfigurationError(
            f"the signing key {name!r} has {len(raw)} bytes: use {_SHORTEST} or more random bytes"
        )
    return raw
