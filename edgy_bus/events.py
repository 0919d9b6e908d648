"""Define the event: an immutable CloudEvents 1.0 value, its id, and the partition that carries it.

Attribute names follow https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, and
`sequence` follows the sequence extension of CloudEvents. Ids are UUIDv7 (RFC 9562, section 5.7).
"""

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from edgy_bus.errors import ConfigurationError

SCHEMA_VERSION = 1
PRE = "pre"
"""Name of the stream for a model's `pre_*` events, which has no ordering or delivery promise."""

# A name becomes a part of Redis keys. `:` separates the parts of a key and `{}` marks a hash tag of
# Redis Cluster, so both characters would let two names collide.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


ContextValue = str | int | float | bool
"""A value of an event's context."""

NO_CONTEXT: Mapping[str, ContextValue] = MappingProxyType({})


class Event(NamedTuple):
    """Describe an operation on a row: done for `post_*` signals, about to start for `pre_*`.

    Attributes:
        id: a UUIDv7 as text; two deliveries of the same event have the same id.
        source: the service that published the event.
        model: the model with its service, for example `accounts.User`.
        signal: the signal's name, for example `post_save`.
        subject: the row's primary key as text; None for an event without a row.
        time: when the event was written, in UTC.
        data: the row as `instance` and, where the publisher knows them, old and new values as
            `changes`.
        sequence: a number that rises from event to event of a row, within an `incarnation`; None
            for `pre_*` events.
        incarnation: a number that rises when the publisher's database has lost events that were
            published, for example by a restore from a backup; compared before `sequence`.
        schema_version: the version of the event header.
        traceparent: the W3C trace context of the operation, if the publisher traces.
        causation: the id of the event whose receiver wrote this event; None for an event that no
            receiver caused.
        context: who acted, as the publisher described it with `bus.context(…)`.
        backfill: whether the event repeats a row that existed before, for a single receiver
            (`edgy-bus backfill`). Nothing has changed then, and nobody knows when anything did.
        replay: the id of an earlier event, if this event is a copy of it that was written for a
            single receiver (`edgy-bus replay`); else None.
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
    causation: str | None = None
    context: Mapping[str, ContextValue] = NO_CONTEXT
    backfill: bool = False
    replay: str | None = None

    @property
    def type(self) -> str:
        """Return the CloudEvents type, for example `accounts.User.post_save`."""
        return f"{self.model}.{self.signal}"


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """Identify a stream: a model of a service (`accounts.User`), and `0` to `7` or `pre`."""

    model: str
    name: str

    def __str__(self) -> str:
        return f"{self.model}:{self.name}"

    @property
    def ordered(self) -> bool:
        """Return whether the stream promises order and delivery; false for `pre_*` events."""
        return self.name != PRE


def service_of(model: str) -> str:
    """Return the service of a model: `accounts` of `accounts.User`."""
    return model.rpartition(".")[0]


def partition_number(subject: str, partitions: int) -> int:
    """Return a row's partition: the first 32 bits of the MD5 of its key, modulo `partitions`.

    Args:
        subject: the row's primary key as text.
        partitions: how many partitions the model has.
    """
    # MD5, because databases compute the same number in SQL when they write events of many rows. In
    # PostgreSQL: ('x' || left(md5(key), 8))::bit(32)::bigint % n. A different function would move
    # rows to other partitions during a rolling upgrade, and their events would lose their order.
    digest = hashlib.md5(subject.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % partitions


def partition_name(subject: str | None, event_id: str, partitions: int) -> str:
    """Return the name of an event's partition: its row's, or any if the event has no row."""
    # The empty text is a key like any other.
    key = event_id if subject is None else subject
    return str(partition_number(key, partitions))


@lru_cache(maxsize=4096)
def partitions_of(model: str, partitions: int) -> tuple[Partition, ...]:
    """Return every ordered partition of a model."""
    return tuple(Partition(model, str(number)) for number in range(partitions))


def check_name(name: str, role: str) -> str:
    """Return `name` after a check that stream keys can contain the name.

    Args:
        name: the name to check.
        role: the meaning of the name, for the error's text: "the service".

    Raises:
        ConfigurationError: if `name` has a character that keys do not allow.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{role} {name!r} may hold letters, digits, '_', '-' and '.' only, and starts with a "
            "letter, a digit or '_': the name becomes part of a stream's key"
        )
    return name


def new_event_id() -> str:
    """Return a new UUIDv7 as text: 48 bits of milliseconds, then 74 random bits.

    Ids sort roughly by time, and processes need no coordination to keep ids unique.
    """
    # Written out by hand: a `uuid.UUID` for every event would cost several times as much.
    milliseconds = time.time_ns() // 1_000_000
    stamp = f"{milliseconds:012x}"
    noise = os.urandom(10).hex()
    variant = "89ab"[int(noise[3], 16) & 3]
    time_part = f"{stamp[:8]}-{stamp[8:]}"
    random_part = f"{variant}{noise[4:7]}-{noise[8:]}"
    return f"{time_part}-7{noise[:3]}-{random_part}"


def now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)
