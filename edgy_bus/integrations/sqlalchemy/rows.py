"""Read rows on the connection of a session: locked before a change, and as they are after it."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, Select, delete, false, select, tuple_

from edgy_bus.errors import OperationError
from edgy_bus.integrations.sqlalchemy.mapping import MappedModel, identity_of
from edgy_bus.outbox.statements import SQLITE
from edgy_bus.outbox.table import pending
from edgy_bus.sources import Value, Values

Identity = tuple[Value, ...]
Rows = dict[Identity, Values]

_AT_ONCE = 1_000
"""Rows of a SELECT; each has a parameter for every column of the key."""

_LOCK_FILE = delete(pending).where(false())


def lock(
    connection: Connection, model: MappedModel, keys: Iterable[Identity], *, exclusive: bool
) -> Rows:
    """Lock rows in the order of their keys, and return them as they are.

    A row that does not exist is missing.

    Args:
        connection: the connection of the transaction that will change the rows.
        model: the model of the rows.
        keys: the keys.
        exclusive: whether rows are deleted, or a column of a unique index is assigned.
    """
    lock_file(connection)
    # FOR NO KEY UPDATE does not block the inserts of rows that refer to these.
    shared = not exclusive
    return _read(connection, model, keys, lambda rows: rows.with_for_update(key_share=shared))


def lock_file(connection: Connection) -> None:
    """Keep other transactions from writing to a SQLite file, from now on."""
    # A statement that changes nothing takes the lock as well. Otherwise another process could
    # change a row between a read and the change.
    if connection.dialect.name == SQLITE:
        connection.execute(_LOCK_FILE)


def read(connection: Connection, model: MappedModel, keys: Iterable[Identity]) -> Rows:
    """Return rows that this transaction has changed, and which are locked therefore."""
    return _read(connection, model, keys, lambda rows: rows)


def matching(model: MappedModel, keys: Sequence[Identity]) -> ColumnElement[bool]:
    """Return the condition that a row has one of these keys."""
    columns = model.mapper.primary_key
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(keys)


def _read(connection: Connection, model: MappedModel, keys: Iterable[Identity], how: Value) -> Rows:
    statement = how(selecting(model))
    rows: Rows = {}
    for part in parts(_ordered(keys)):
        expected = set(part)
        for row in connection.execute(statement.where(matching(model, part))).mappings():
            values = dict(row)
            key = identity_of(model, values)
            # Otherwise the row would be taken for one that does not exist.
            if key not in expected:
                raise unreadable(model)
            rows[key] = values
    return rows


def unreadable(model: MappedModel) -> OperationError:
    """Return the error of a row that is there, and cannot be read by the key of its object."""
    names = ", ".join(model.keys)
    return OperationError(
        f"a row of {model.name} that is changed cannot be read by its key ({names}): give the key "
        "the type of its column; a trigger that changes the key, or drops the row, is not "
        "supported, and neither is a row without its part in another table of its class"
    )


def selecting(model: MappedModel) -> Select[Value]:
    """Return the SELECT of the public columns of a model's rows, in the order of keys."""
    columns = [model.columns[name].label(name) for name in model.public]
    mapper = model.mapper
    return select(*columns).select_from(mapper.persist_selectable).order_by(*mapper.primary_key)


def _ordered(keys: Iterable[Identity]) -> list[Identity]:
    distinct = list(dict.fromkeys(keys))
    try:
        return sorted(distinct)
    except TypeError:
        # Values without an order among each other still have a fixed order as text.
        return sorted(distinct, key=str)


def parts(keys: Sequence[Identity]) -> Iterator[Sequence[Identity]]:
    """Yield keys in parts that a statement can have as parameters."""
    for begin in range(0, len(keys), _AT_ONCE):
        yield keys[begin : begin + _AT_ONCE]
