"""Backfills and replays that have begun and not ended: their entries in `edgy_bus_meta`."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import ConfigurationError, DatabaseError, DatabaseUnavailable, EventError
from edgy_bus.events import service_of
from edgy_bus.operations.filters import fields_of
from edgy_bus.operations.parts import Parts, Publisher, outbox_name

Kind = Literal["backfill", "replay"]
"""Begins the names of the entries in `edgy_bus_meta`."""

BACKFILL: Kind = "backfill"
REPLAY: Kind = "replay"
KINDS: tuple[Kind, ...] = (BACKFILL, REPLAY)

UNITS = {BACKFILL: "rows", REPLAY: "events"}
"""What an action sends."""

UNMOVED = 600.0
"""Seconds after which an unfinished action has stopped: one that runs writes pages more often,
unless a relay or its receiver is behind."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A backfill or a replay that has begun and not ended, as `edgy_bus_meta` has it.

    Attributes:
        model: the model with its service.
        to: the receiver, as GROUP/RECEIVER; of a replay also a group.
        where: conditions of the rows or events.
        total: rows or events at the beginning.
        done: events that are written.
        after: the key of the last of these rows, or the last of these events; None before the
            first row.
        until: the greatest key at the beginning: rows that are newer have live events. Of a replay
            the id below which its events lie, empty for a replay up to the newest event.
        begun: when the action began, in ISO 8601.
        moved: when the last page was written, by the clock of the machine that wrote the page.
        by: the operator who began it.
        kind: the action.
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
    kind: Kind = BACKFILL


def entry_name(kind: Kind, model: str, to: str) -> str:
    """Return the name of the entry of an action."""
    # One action of a kind for a model and a receiver. The column has room for 64 characters.
    digits = hashlib.sha256(f"{model}\0{to}".encode()).hexdigest()[:24]
    return f"{kind}.{digits}"


def name_of(state: Unfinished) -> str:
    """Return the name of the entry of an unfinished action."""
    return entry_name(state.kind, state.model, state.to)


def text_of(state: Unfinished) -> str:
    """Return an unfinished action as its entry has it."""
    values = asdict(state)
    # In the name of the entry.
    del values["kind"]
    return dumps(values).decode()


def read_entry(name: str, text: str) -> Unfinished:
    """Return the unfinished action of an entry. Raises `ConfigurationError` for another text."""
    kind = kind_of(name)
    try:
        values = loads(text)
        unfinished = Unfinished(**{**values, "where": tuple(values["where"]), "kind": kind})
        # Used by the doctor, which must not fail.
        for moment in (unfinished.begun, unfinished.moved):
            datetime.fromisoformat(moment).astimezone(UTC)
    except (EventError, TypeError, LookupError, ValueError) as error:
        raise ConfigurationError(
            f"the entry {name!r} of edgy_bus_meta is no unfinished {kind} of this release: "
            "delete the entry, and begin anew"
        ) from error
    return unfinished


def resuming(target: str, state: Unfinished) -> str:
    """Return the command that goes on with an unfinished action."""
    model = f"--model {state.model}" if state.kind == REPLAY else state.model
    return f"edgy-bus {state.kind} {target} {model} --to {state.to} --resume"


def kind_of(name: str) -> Kind:
    """Return the kind of the action to which an entry belongs."""
    return REPLAY if name.startswith(f"{REPLAY}.") else BACKFILL


async def entries_of(publisher: Publisher, kind: Kind) -> dict[str, str]:
    """Return the entries of all actions of a kind in a database, by their names.

    Raises:
        ConfigurationError: if the database has no outbox yet.
    """
    try:
        return dict(await publisher.store.progress.all(kind))
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        raise ConfigurationError(
            f"the outbox cannot be read: {error}. Start the service once, which creates its tables"
        ) from error


async def unfinished_at(publisher: Publisher, kind: Kind, model: str, to: str) -> Unfinished | None:
    """Return the unfinished action of a kind for a model and a receiver. Raises as `read_entry`."""
    name = entry_name(kind, model, to)
    text = (await entries_of(publisher, kind)).get(name)
    return None if text is None else read_entry(name, text)


async def unfinished_actions(parts: Parts, kind: Kind) -> tuple[Unfinished, ...]:
    """Return the backfills or replays of the service that have begun and not ended. Only reads.

    The databases must be connected.
    """
    entries: dict[str, str] = {}
    for publisher in parts.publishers:
        entries |= await entries_of(publisher, kind)
    listed = (read_entry(name, text) for name, text in sorted(entries.items()))
    return tuple(each for each in listed if service_of(each.model) == parts.service)


async def unfinished_backfills(parts: Parts) -> tuple[Unfinished, ...]:
    """Return the backfills of the service that have begun and not ended. Only reads."""
    return await unfinished_actions(parts, BACKFILL)


async def unfinished_replays(parts: Parts) -> tuple[Unfinished, ...]:
    """Return the replays of the service that have begun and not ended. Only reads."""
    return await unfinished_actions(parts, REPLAY)


@dataclass(frozen=True, slots=True)
class LongAction:
    """How far a backfill or a replay is that has begun and not ended.

    Attributes:
        action: the action, as its database has it.
        database: the kind, the host and the name of the database.
        begun: when the action began.
        idle: seconds since its last page, by the clocks of two machines.
        rate: rows or events per second from its begin to its last page, pauses included; None
            before the first page.
        remaining: seconds that the rest takes at this rate; None if the rate is unknown.
    """

    action: Unfinished
    database: str
    begun: datetime
    idle: float
    rate: float | None
    remaining: float | None

    @property
    def stands(self) -> bool:
        """Return whether no process seems to go on with the action."""
        return self.idle > UNMOVED

    @property
    def unit(self) -> str:
        """Return what is counted."""
        return UNITS[self.action.kind]

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the fields of its conditions, without values, which may be values of rows."""
        return tuple(fields_of(self.action.where))

    @property
    def command(self) -> str:
        """Return the command that continues the action."""
        return resuming("MODULE:BUS", self.action)


@dataclass(frozen=True, slots=True)
class LongActions:
    """The backfills and replays of a service that have begun and not ended.

    Attributes:
        actions: these actions; those that stand for the longest time come first.
        problems: databases and entries that cannot be read, in sentences.
    """

    actions: tuple[LongAction, ...]
    problems: tuple[str, ...]


async def long_actions(parts: Parts, now: datetime | None = None) -> LongActions:
    """Return how far the backfills and replays of the service are. Only reads.

    Args:
        parts: the parts of the service, with the publishers whose databases are connected.
        now: the time; by default the clock of this machine.
    """
    moment = now or datetime.now(UTC)
    actions: list[LongAction] = []
    problems: list[str] = []
    for publisher in parts.publishers:
        database = outbox_name(publisher.store)
        # One that cannot be read must not hide the others.
        try:
            entries: Mapping[str, str] = {
                name: text
                for kind in KINDS
                for name, text in (await entries_of(publisher, kind)).items()
            }
        except ConfigurationError as error:
            problems.append(f"{database}: {error}")
            continue
        for name, text in entries.items():
            try:
                action = read_entry(name, text)
            except ConfigurationError as error:
                problems.append(f"{database}: {error}")
            else:
                # Another service may have its events in the tables.
                if service_of(action.model) == parts.service:
                    actions.append(progress_of(action, database, moment))
    actions.sort(key=lambda each: -each.idle)
    return LongActions(tuple(actions), tuple(problems))


def progress_of(action: Unfinished, database: str, now: datetime) -> LongAction:
    """Return how far an action is. Pure arithmetic."""
    begun, moved = (
        datetime.fromisoformat(each).astimezone(UTC) for each in (action.begun, action.moved)
    )
    # The clock of the machine that writes the pages may be ahead of this one.
    idle = max(0.0, (now - moved).total_seconds())
    seconds = (moved - begun).total_seconds()
    if not action.done or seconds <= 0:
        return LongAction(action, database, begun, idle, None, None)
    rate = action.done / seconds
    # More rows may be done than there were: the total is the number of the beginning.
    remaining = max(0, action.total - action.done) / rate
    return LongAction(action, database, begun, idle, rate, remaining)
