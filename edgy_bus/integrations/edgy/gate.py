"""Refuse the statements that change rows of published tables without events.

Every statement of an engine passes `check`, no matter which library has made the statement. Those
that `changing` has made carry a mark.
"""

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from sqlalchemy import Executable

from edgy_bus.errors import OperationError
from edgy_bus.integrations.sqlalchemy.gate import UNPUBLISHED, changed_tables
from edgy_bus.sources import Value

S = TypeVar("S", bound=Executable)

_PUBLISHED = "edgy_bus_published"
"""The execution option of statements whose events are written."""

# The rows that an INSERT changes instead are not told apart from new rows.
_REPLACES = re.compile(r"\bDO\s+UPDATE\b|^\s*(?:INSERT\s+OR\s+REPLACE|REPLACE)\b", re.IGNORECASE)


def published(statement: S) -> S:
    """Return a statement that passes the gate, because its caller writes the events."""
    return statement.execution_options(**{_PUBLISHED: True})


def check(statement: str, options: Mapping[str, Value], tables: Collection[str]) -> None:
    """Let a statement pass, or refuse it.

    Args:
        statement: the text of the statement.
        options: its execution options.
        tables: the names of the published tables, in lower case.

    Raises:
        OperationError: for a change of published rows that no event would report.
    """
    if options.get(UNPUBLISHED):
        return
    # Most statements change nothing that is published.
    changed = sorted(changed_tables(statement).intersection(tables))
    if not changed:
        return
    if not options.get(_PUBLISHED):
        raise OperationError(
            f"this statement changes rows of {changed[0]!r} past Edgy's models, so no event would "
            "report the changes: use the model, or database.execute with an insert(), update() or "
            f"delete() of its table in its own schema; execution_options({UNPUBLISHED}=True) of "
            "the statement changes the rows without events"
        )
    if _REPLACES.search(statement):
        raise OperationError(
            f"this INSERT changes rows of {changed[0]!r} that exist, and no event could say which: "
            "use update_or_create(), or a statement for each case"
        )
