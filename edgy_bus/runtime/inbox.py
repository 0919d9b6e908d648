"""Remember how far a receiver has come with a row, in the receiver's own database.

The comparison and the receiver's writes are one transaction. No matter which worker believes to be
in charge, an event takes effect once, and never after a later event of its row.
"""

import time
from functools import cache
from typing import Any

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
    or_,
)
from sqlalchemy.dialects import postgresql, sqlite

from edgy_bus.codec import Envelope
from edgy_bus.database.versions import TableSet, meta_table
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
    Column("handled", BigInteger, nullable=False),
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
        "subject": envelope.subject or f"event:{envelope.id}",
        "incarnation": envelope.incarnation,
        "sequence": envelope.sequence,
        "handled": time.time_ns() // 1_000_000,
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
