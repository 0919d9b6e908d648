"""Write events on the connection of a session, in the transaction of the changes."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, insert

from edgy_bus.outbox import statements
from edgy_bus.outbox.encoding import EventRow
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import Value

_EMPTY: Mapping[str, Value] = dict.fromkeys(statements.WRITTEN)
_INSERT = insert(outbox)


def append(connection: Connection, events: Sequence[EventRow]) -> None:
    """Write events, pending, after the changes that they describe.

    The transaction holds the locks of the changed rows, so the ids of the events of a row rise in
    the order of the commits.
    """
    # All columns in one order, so that SQLAlchemy compiles each statement once.
    rows = [{**_EMPTY, **event} for event in events]
    if connection.dialect.name != statements.POSTGRESQL:
        connection.execute(_INSERT, rows)
        connection.execute(statements.LAST_PENDING, {"count": len(rows)})
    elif len(rows) == 1:
        connection.execute(statements.appending(many=False), rows[0])
    else:
        columns = {name: [row[name] for row in rows] for name in _EMPTY}
        connection.execute(statements.appending(many=True), columns)
