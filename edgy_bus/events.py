"""The event: one immutable CloudEvents 1.0 value, its identity, and the partition it belongs to.

Attribute names follow https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md; `sequence` follows its
sequence extension. Ids are UUIDv7 (RFC 9562, section 5.7).
"""

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from edgy_bus.errors import ConfigurationError

SCHEMA_VERSION = 1
PROTOCOL = 2
"""What workers of this release understand, in their reports; releases without a number are 1.

2: entries addressed to a receiver (the header's `to`).
"""
PRE = "pre"
"""The label of the stream that carries a model's `pre_*` events: outside the partitions, without a promise."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


class Event(NamedTuple):
    """Something that happened to one row (or is about to, for `pre_*`).

    `sequence` rises from event to event of a row, within an `incarnation` of the publisher's database; both are None for
    `pre_*` events. `data` holds the row as `instance` and, where known, old and new values as `changes`.
    """

    id: str
    source: str
    model: str
    signal: str
    subject: str | None
    time: datetime
    data: Mapping[str, Any]
    sequence: int | None = None
    incarnation: int = 1
    schema_version: int = SCHEMA_VERSION
    traceparent: str | None = None

    @property
    def type(self) -> str:
        """The CloudEvents type: `accounts.User.post_save`."""
        return f"{self.model}.{self.signal}"


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One stream: a model of a service (`accounts.User`) and the label of its part (`0`..`7`, or `pre`)."""

    model: str
    name: str

    def __str__(self) -> str:
        return f"{self.model}:{self.name}"

    @property
    def ordered(self) -> bool:
        """Whether the stream keeps the promises: the one of `pre_*` events does not."""
        return self.name != PRE


def partition_number(subject: str, partitions: int) -> int:
    """The partition of a row: the first 32 bits of the MD5 of its key as text, modulo the number of partitions.

    MD5 because every database computes it too: in PostgreSQL `('x' || left(md5(key), 8))::bit(32)::bigint % n`.
    """
    digest = hashlib.md5(subject.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % partitions


def partition_name(subject: str | None, event_id: str, partitions: int) -> str:
    """Where an event belongs: with its row, or anywhere if it is of none."""
    return str(partition_number(subject or event_id, partitions))


@lru_cache(maxsize=4096)
def partitions_of(model: str, partitions: int) -> tuple[Partition, ...]:
    """Every ordered partition of a model."""
    return tuple(Partition(model, str(number)) for number in range(partitions))


def check_name(name: str, what: str) -> str:
    """Return `name` if it may be part of a stream's key; otherwise say which rule it breaks."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{what} {name!r} may hold letters, digits, '_', '-' and '.' only: it becomes part of a stream's key"
        )
    return name


def new_event_id() -> str:
    """A UUIDv7: 48 bits of milliseconds, then random bits, so that ids sort roughly by time and never collide."""
    ms, noise = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10).hex()
    variant = "89ab"[int(noise[3], 16) & 3]
    return f"{ms[:8]}-{ms[8:]}-7{noise[:3]}-{variant}{noise[4:7]}-{noise[8:]}"


def now() -> datetime:
    return datetime.now(UTC)
