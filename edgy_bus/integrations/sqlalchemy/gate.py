"""Find the statements that change published rows past their objects, which no event would report.

The text of every statement is looked at, because the text is all that text SQL, Core statements
and the bulk methods of a session have in common.
"""

import re
from functools import lru_cache

from edgy_bus.errors import OperationError

UNPUBLISHED = "unpublished"
"""The execution option with which an application says that a statement has no events."""

# The names of tables, as SQLAlchemy and applications quote them.
_NAME = r"""(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|'[^']+'|\w+)"""
_TABLE = rf"(?:{_NAME}\s*\.\s*)*{_NAME}"
_CHANGE = re.compile(
    rf"""\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO | REPLACE\s+INTO | MERGE\s+INTO(?:\s+ONLY)?
        | UPDATE(?:\s+OR\s+\w+)?(?:\s+ONLY)? | DELETE\s+FROM(?:\s+ONLY)?
        | TRUNCATE(?:\s+TABLE)?(?:\s+ONLY)? | COPY(?=[^;]*\sFROM\b))
        (?:\s+|(?=["`\[']))({_TABLE}(?:\s*\*?\s*,\s*(?:ONLY\s+)?{_TABLE})*)""",
    re.IGNORECASE | re.VERBOSE,
)
_LAST_NAME = re.compile(rf"(?:{_NAME}\s*\.\s*)*({_NAME})")
_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_QUOTES = "\"`[]'"
_REPLACES = re.compile(r"\bDO\s+UPDATE\b|\bOR\s+REPLACE\b|\bREPLACE\s+INTO\b", re.IGNORECASE)


# Programs repeat their statements, so that each text is searched once.
@lru_cache(maxsize=512)
def changed_tables(statement: str) -> frozenset[str]:
    """Return the tables that a statement changes, by their names in lower case."""
    # With comments as well: what looks like a comment may stand in a literal.
    texts = {statement, _COMMENT.sub(" ", statement)}
    changes = (match[1] for text in texts for match in _CHANGE.finditer(text))
    names = {name.lower() for change in changes for name in _LAST_NAME.findall(change)}
    return frozenset(name.strip(_QUOTES) for name in names - {"only"})


@lru_cache(maxsize=512)
def replaces_rows(statement: str) -> bool:
    """Return whether an INSERT updates or deletes rows that exist."""
    return _REPLACES.search(statement) is not None


def refuse(table: str) -> OperationError:
    """Return the error of a statement that changes rows without events."""
    return OperationError(
        f"this statement changes rows of {table!r} without their objects, so no event would report "
        "the changes: use session.add, session.delete, or session.execute with insert(Class), "
        f"update(Class) or delete(Class); execution_options({UNPUBLISHED}=True) changes the rows "
        "without events"
    )


def refuse_replacing(table: str) -> OperationError:
    """Return the error of an INSERT that changes rows that exist."""
    return OperationError(
        f"this statement changes rows of {table!r} that exist already, and no event could report "
        "their old values: use on_conflict_do_nothing, or session.merge; "
        f"execution_options({UNPUBLISHED}=True) changes the rows without events"
    )


def refuse_inside_a_flush(model: str) -> OperationError:
    """Return the error of a statement whose events would be out of order."""
    return OperationError(
        f"this statement changes rows of {model} inside of a flush, so its events would come before"
        " those of the flush: execute it in a pre_* receiver, in before_flush, or after the flush"
    )
