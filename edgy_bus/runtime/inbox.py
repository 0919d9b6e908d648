"""Remember how far a receiver has come with a row, in the receiver's own database.

The comparison and the receiver's writes are one transaction. No matter which worker believes to be
in charge, an event takes effect once, and never after a later event of its row.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Executable,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from edgy_bus.codec import Envelope
from edgy_bus.database import Database
from edgy_bus.database.clock import DatabaseClock
from edgy_bus.database.versions import TableSet, meta_table
from edgy_bus.runtime.turns import Turn
from edgy_bus.signals import Inbox

metadata = MetaData()

meta = meta_table(metadata)
"""The version of this table."""

inbox = Table(
    "edgy_bus_inbox",
    metadata,
    Column("receiver", String(255), primary_key=True),
    Column("source", String(255), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("incarnation", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # By the clock of the database, which is the same for all workers.
    Column("handled", BigInteger, nullable=False, default=DatabaseClock()),
)

TABLES = TableSet("inbox", metadata, version=1, compatible=1)
"""Version 1 is also the table of releases without `edgy_bus_meta`."""


async def advance(database: Inbox, receiver: str, envelope: Envelope) -> bool:
    """Record, in the open transaction, that a receiver handles an event.

    An event without a sequence (`pre_*`) is not recorded.

    Returns:
        False if the receiver has handled this event or a later event of the row.
    """
    if envelope.sequence is None:
        return True
    parameters = {
        "receiver": receiver,
        "source": envelope.source,
        "model": envelope.model,
        "subject": f"event:{envelope.id}" if envelope.subject is None else envelope.subject,
        "incarnation": envelope.incarnation,
        "sequence": envelope.sequence,
    }
    statement = _compare_and_set(database.dialect.name)
    return bool((await database.run(statement, parameters)).rows)


@cache
def _compare_and_set(dialect: str) -> Executable:
    """Return the statement that replaces an earlier event, and returns a row if it did."""
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    offered = insert(inbox)
    new, old = offered.excluded, inbox.c
    # The incarnation comes first: a publisher's database that was restored gives sequences out
    # again, to later events.
    later = or_(
        old.incarnation < new.incarnation,
        and_(old.incarnation == new.incarnation, old.sequence < new.sequence),
    )
    statement: Executable = offered.on_conflict_do_update(
        index_elements=[old.receiver, old.source, old.model, old.subject],
        set_={"incarnation": new.incarnation, "sequence": new.sequence, "handled": new.handled},
        where=later,
    ).returning(old.sequence)
    return statement


class Position(NamedTuple):
    """How far a receiver has come with a row, or that it has handled an event without a row."""

    receiver: str
    """The group and the name of the receiver."""
    source: str
    model: str
    subject: str
    handled: int
    """When the receiver handled its last event of the row, in milliseconds since 1970."""


_KEY = ("receiver", "source", "model", "subject")
_NO_KEY = Position("", "", "", "", 0)
_COLUMNS = [inbox.c[name] for name in _KEY]
_AFTER = [bindparam(f"after_{name}", type_=Text()) for name in _KEY]
_PAGE = (
    select(*_COLUMNS, inbox.c.handled)
    .where(tuple_(*_COLUMNS) > tuple_(*_AFTER))
    .order_by(*_COLUMNS)
    .limit(bindparam("limit", type_=Integer()))
)
_NOW = select(DatabaseClock().label("now"))


class Positions:
    """The positions in the inbox of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        url = database.url
        text = f"{url.hostname}:{url.port}/{url.database}"
        self.database_id = hashlib.sha256(text.encode()).hexdigest()[:12]
        """Tells databases apart: the same for all URLs that differ in user and password only."""

    async def page(self, after: Position | None, limit: int) -> tuple[int, Sequence[Position]]:
        """Return the database's time in milliseconds, and the next positions after a position."""
        # Read before the positions, so that no position is younger.
        now = (await self._database.run(_NOW)).rows[0]["now"]
        key = zip(_KEY, after or _NO_KEY, strict=False)
        parameters = {f"after_{name}": value for name, value in key}
        rows = (await self._database.run(_PAGE, {**parameters, "limit": limit})).rows
        return now, [Position(**row) for row in rows]

    async def forget(self, positions: Sequence[Position]) -> int:
        """Delete positions that have not changed since they were read; return their number.

        A position that a receiver moves at the moment is left out.
        """
        # A wait for the locks of a batch, which may wait for the locks of this statement, would be
        # a deadlock. SQLite has no locks of rows.
        unchanged = tuple_(*_COLUMNS, inbox.c.handled).in_(positions)
        free = select(*_COLUMNS).where(unchanged).with_for_update(skip_locked=True)
        forgetting = delete(inbox).where(tuple_(*_COLUMNS).in_(free))
        # In the queue of the receivers, whose transactions wait for this one on SQLite.
        async with Turn(self._database, "pruning"):
            return (await self._database.run(forgetting)).rowcount
