"""Translate errors of asyncpg, and take the values of rows out of them.

PostgreSQL puts values into DETAIL and CONTEXT of an error, asyncpg into the text of an error about
a parameter. The driver's error is the cause of the translated error, and a traceback prints causes.
"""

import re
import socket

import asyncpg

from edgy_bus.database.backends.base import CREATE_TABLES
from edgy_bus.errors import (
    DatabaseError,
    DatabaseLocked,
    DatabaseUnavailable,
    IntegrityError,
    TryAgain,
)

_CUT = re.compile("connection is closed|released back to the pool|pool is clos")
_AWAY = (
    asyncpg.InternalClientError,  # a statement on a connection that the server has just ended
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
_AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_MIXED_UP = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""Errors about the name of a prepared statement."""

_WITH_VALUES = ("detail", "context", "internal_query")
"""Attributes of PostgreSQL's errors that can contain values of a row."""

_QUOTED = re.compile('".*"', re.DOTALL)


def translate(error: Exception) -> DatabaseError | None:
    """Return the error of edgy_bus for an error of asyncpg; None for other errors.

    The values of rows are removed from the given error.
    """
    _remove_values(error)
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return IntegrityError(
            f"PostgreSQL refuses the row: {error.args[0]}",
            table=error.table_name,
            column=error.column_name,
        )
    if pooled := _of_pooler(error):
        return pooled
    temporary = _temporary(error)
    if temporary is not None:
        return temporary
    if isinstance(error, asyncpg.DataError):
        return DatabaseError(f"PostgreSQL cannot store a value: {error.args[0]}")
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        hint = f": {CREATE_TABLES}" if isinstance(error, asyncpg.UndefinedTableError) else ""
        return DatabaseError(f"PostgreSQL: {error.args[0]}{hint}")
    return None


def _of_pooler(error: Exception) -> DatabaseError | None:
    """Translate what only a pooler between program and server causes; None for other errors."""
    if isinstance(error, _MIXED_UP):
        return DatabaseError(
            f"PostgreSQL: {error.args[0]}: is there a pooler such as pgbouncer with pool_mode = "
            "transaction? Then add ?pgbouncer=true to the database URL"
        )
    if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in str(error):
        return DatabaseError(
            f"PostgreSQL: {error.args[0]}: a pooler such as pgbouncer refuses it. Leave it out of "
            "the database URL (schema= is search_path) and set it for the role: ALTER ROLE … IN "
            "DATABASE … SET … = …"
        )
    return None


def _temporary(error: Exception) -> DatabaseError | None:
    """Translate an error that may not come again; None for other errors."""
    # Before OSError, of which TimeoutError is a subclass.
    if isinstance(error, TimeoutError):
        return DatabaseUnavailable(
            "PostgreSQL did not answer within the time limit: `command_timeout` limits a "
            "statement and `timeout` a new connection; both can be set in the URL"
        )
    if isinstance(error, _AWAY) or _is_cut(error):
        first_line = str(error).partition("\n")[0]
        return DatabaseUnavailable(
            f"PostgreSQL cannot be reached: {type(error).__name__}: {first_line}{_hint(error)}"
        )
    if isinstance(error, asyncpg.LockNotAvailableError):
        return DatabaseLocked(f"PostgreSQL: {error.args[0]}")
    if isinstance(error, _AGAIN):
        return TryAgain(f"PostgreSQL: {error.args[0]}; repeat the transaction")
    return None


def _hint(error: Exception) -> str:
    # The texts of Python name the address, and not what is missing.
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return ": does a server run there, and is the database URL right?"
    return ""


def _is_cut(error: Exception) -> bool:
    # asyncpg reports a connection that the server has cut as a wrong use of its interface.
    return isinstance(error, asyncpg.InterfaceError) and _CUT.search(str(error)) is not None


def _remove_values(error: Exception) -> None:
    if isinstance(error, asyncpg.PostgresError):
        for name in _WITH_VALUES:
            if getattr(error, name, None) is not None:
                setattr(error, name, None)
    if isinstance(error, asyncpg.DataError):
        # The value follows a colon, or stands between quotes: `value "…" is out of range`.
        text = _QUOTED.sub('"…"', str(error.args[0]).partition(":")[0])
        error.args = (text,)
        error.message = text
        # The encoder's own error, for example uuid's about a malformed text.
        error.__cause__ = error.__context__ = None
