"""Read the clock of the database server, in milliseconds since 1970.

Ages that decide about pruning are compared by this clock alone: the clocks of processes differ, and
a process whose clock is a day ahead would lose rows that others still need.
"""

from sqlalchemy import BigInteger, ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine


class DatabaseClock(ColumnElement[int]):
    """Stand for the time of the database at the execution of the statement."""

    inherit_cache = True
    type: TypeEngine[int] = BigInteger()


@compiles(DatabaseClock)
def _in_sqlite(_: DatabaseClock, __: object, **___: object) -> str:
    # SQLite's clock is that of the process, which is the machine of everyone who has the file open.
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


@compiles(DatabaseClock, "postgresql")
def _in_postgresql(_: DatabaseClock, __: object, **___: object) -> str:
    # Not the beginning of the transaction, which may lie hours back.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
