"""Give an outbox its id, and recognise a copy of a database, which is another outbox."""

import hashlib
import secrets

from sqlalchemy import text, update

from edgy_bus import telemetry
from edgy_bus.database import Database
from edgy_bus.database.versions import Entries
from edgy_bus.errors import DatabaseError, DatabaseUnavailable
from edgy_bus.outbox.table import meta
from edgy_bus.telemetry import catalogue

ENTRY = "outbox.id"
"""The entry of `edgy_bus_meta` with the id: random digits, then a dot and the home, if known."""

_HOME = text(
    """
    SELECT CAST(system_identifier AS text) || '/' || CAST(oid AS text) AS home
    FROM pg_control_system(), pg_database WHERE datname = current_database()
    """
)


async def home_of(database: Database) -> str:
    """Return digits that differ in a copy of the database; nothing where they are not known.

    Raises:
        DatabaseUnavailable: if the database does not answer.
    """
    # SQLite has nothing that a copy of the file does not have.
    if database.dialect.name != "postgresql":
        return ""
    try:
        [row] = (await database.run(_HOME)).rows
    except DatabaseUnavailable:
        raise
    except DatabaseError:
        # Some hosts do not let everyone ask.
        return ""
    return hashlib.sha256(row["home"].encode()).hexdigest()[:8]


def new_id(home: str) -> str:
    """Return an id that no other outbox has."""
    return f"{secrets.token_hex(8)}.{home}" if home else secrets.token_hex(8)


async def identify(database: Database, entries: Entries, home: str) -> str:
    """Return the id of the outbox; a new id in a database that is a copy. Reports the copy.

    Raises:
        DatabaseUnavailable: if the database does not answer.
    """
    recorded = entries[ENTRY]
    _, _, origin = recorded.partition(".")
    # Ids of the release before have no home.
    if not home or not origin or origin == home:
        return recorded
    fresh = new_id(home)
    entry = meta.c.name == ENTRY, meta.c.value == recorded
    # Compared, because two programs may start at once: the first one gives the id.
    renamed = update(meta).where(*entry).values(value=fresh)
    try:
        if (await database.run(renamed)).rowcount == 1:
            telemetry.emit(catalogue.OutboxCopied(outbox=fresh, former=recorded))
            return fresh
        rows = (await database.run(meta.select().where(meta.c.name == ENTRY))).rows
    except DatabaseUnavailable:
        raise
    except DatabaseError:
        # Without the right to change the entry, the copy is reported at every start.
        telemetry.emit(catalogue.OutboxCopied(outbox=recorded, former=recorded))
        return recorded
    return str(rows[0]["value"])
