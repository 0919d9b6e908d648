"""Find the statements that change published rows past their objects, which no event would report.

The text of every statement is looked at, because the text is all that text SQL, Core statements
and the bulk methods of a session have in common.
"""

import re
from functools import lru_cache

from edgy_bus.errors import OperationError

UNPUBLISHED = "unpublished"
"""The execution option with which an application says that a statement has no events."""

# The names of tables, as SQLAlchemy quotes them.
_NAME = r'(?:"[^"]+"|\w+)'
_CHANGE = re.compile(
    rf"""\b(INSERT\s+(?:OR\s+\w+\s+)?INTO | REPLACE\s+INTO | MERGE\s+INTO
        | UPDATE(?:\s+OR\s+\w+)?(?:\s+ONLY)? | DELETE\s+FROM(?:\s+ONLY)?
        | TRUNCATE(?:\s+TABLE)?(?:\s+ONLY)?)
        \s+(?:{_NAME}\s*\.\s*)?({_NAME})""",
    re.IGNORECASE | re.VERBOSE,
)


# Programs repeat their statements, so that each text is searched once.
@lru_cache(maxsize=512)
def changed_tables(statement: str) -> frozenset[str]:
    """Return the tables that a statement changes, by their names in lower case."""
    return frozenset(match[2].strip('"').lower() for match in _CHANGE.finditer(statement))


def refuse(table: str) -> OperationError:
    """Return the error of a statement that changes rows without events."""
    return OperationError(
        f"this statement changes rows of {table!r} without their objects, so no event would report "
        "the changes: use session.add, session.delete, or session.execute with update(Class) or "
        f"delete(Class) and a condition; execution_options({UNPUBLISHED}=True) changes the rows "
        "without events"
    )
