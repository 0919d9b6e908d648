"""Backfills that have begun and not ended: their entries in `edgy_bus_meta`."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import ConfigurationError, DatabaseError, DatabaseUnavailable, EventError
from edgy_bus.events import service_of
from edgy_bus.operations.parts import Parts, Publisher
from edgy_bus.operations.recipients import Recipient

KIND = "backfill"
"""Begins the names of the entries in `edgy_bus_meta`."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A backfill that has begun and not ended, as `edgy_bus_meta` has it.

    Attributes:
        model: the model with its service.
        to: the receiver, as GROUP/RECEIVER.
        where: conditions of the rows.
        total: rows that matched at the beginning.
        done: rows whose events are written.
        after: the key of the last of these rows; None before the first.
        until: the greatest key at the beginning: rows that are newer have live events.
        begun: when the backfill began, in ISO 8601.
        moved: when the last page was written, by the clock of the machine that wrote the page.
        by: the operator who began it.
    """

    model: str
    to: str
    where: tuple[str, ...]
    total: int
    done: int
    after: str | None
    until: str
    begun: str
    moved: str
    by: str


def entry_name(model: str, recipient: Recipient) -> str:
    """Return the name of the entry of a backfill."""
    # One backfill for a model and a receiver at a time. The column has room for 64 characters.
    digits = hashlib.sha256(f"{model}\0{recipient}".encode()).hexdigest()[:24]
    return f"{KIND}.{digits}"


def name_of(state: Unfinished) -> str:
    """Return the name of the entry of an unfinished backfill."""
    return entry_name(state.model, Recipient.parse(state.to))


def text_of(state: Unfinished) -> str:
    """Return an unfinished backfill as its entry has it."""
    return dumps(state).decode()


def read_entry(name: str, text: str) -> Unfinished:
    """Return the unfinished backfill of an entry. Raises `ConfigurationError` for another text."""
    try:
        values = loads(text)
        unfinished = Unfinished(**{**values, "where": tuple(values["where"])})
        # Used by the doctor, which must not fail.
        datetime.fromisoformat(unfinished.moved)
    except (EventError, TypeError, LookupError, ValueError) as error:
        raise ConfigurationError(
            f"the entry {name!r} of edgy_bus_meta is no unfinished backfill of this release: "
            "delete the entry, and begin anew"
        ) from error
    return unfinished


async def entries_of(publisher: Publisher) -> dict[str, str]:
    """Return the entries of all backfills in a database, by their names.

    Raises:
        ConfigurationError: if the database has no outbox yet.
    """
    try:
        return dict(await publisher.store.progress.all(KIND))
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        raise ConfigurationError(
            f"the outbox cannot be read: {error}. Start the service once, which creates its tables"
        ) from error


async def unfinished_backfills(parts: Parts) -> tuple[Unfinished, ...]:
    """Return the backfills of the service that have begun and not ended. Only reads.

    The databases must be connected.
    """
    entries: dict[str, str] = {}
    for publisher in parts.publishers:
        entries |= await entries_of(publisher)
    listed = (read_entry(name, text) for name, text in sorted(entries.items()))
    return tuple(each for each in listed if service_of(each.model) == parts.service)
