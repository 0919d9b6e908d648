"""Read rows on the connection of a session: locked before a change, and as they are after it."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    any_,
    bindparam,
    delete,
    false,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from edgy_bus.errors import OperationError
from edgy_bus.integrations.sqlalchemy.mapping import MappedModel
from edgy_bus.outbox.statements import POSTGRESQL, SQLITE
from edgy_bus.outbox.table import pending
from edgy_bus.sources import Value, Values

Identity = tuple[Value, ...]
Rows = dict[Identity, Values]

LARGEST = 10_000
"""The most rows of a statement: their old values and events are in memory."""

_AT_ONCE = 1_000
"""Rows of a SELECT; each has a parameter for every column of the key."""

_KEYS = "keys"

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
    return _read(connection, model, keys, not exclusive)


def lock_file(connection: Connection) -> None:
    """Keep other transactions from writing to a SQLite file, from now on."""
    # A statement that changes nothing takes the lock as well. Otherwise another process could
    # change a row between a read and the change.
    if connection.dialect.name == SQLITE:
        connection.execute(_LOCK_FILE)


def read(connection: Connection, model: MappedModel, keys: Iterable[Identity]) -> Rows:
    """Return rows that this transaction has changed, and which are locked therefore."""
    return _read(connection, model, keys, None)


def matching(model: MappedModel, keys: Sequence[Identity]) -> ColumnElement[bool]:
    """Return the condition that a row has one of these keys."""
    columns = model.mapper.primary_key
    if len(columns) == 1:
        return columns[0].in_([key[0] for key in keys])
    return tuple_(*columns).in_(keys)


def _read(
    connection: Connection, model: MappedModel, keys: Iterable[Identity], key_share: bool | None
) -> Rows:
    how = key_share, connection.dialect.name
    statement = model.prepared.get(how)
    if statement is None:
        statement = model.prepared[how] = _prepare(model, *how)
    names = model.public
    places = [names.index(name) for name in model.keys]
    rows: Rows = {}
    for part in parts(_ordered(keys)):
        expected = set(part)
        values = part if len(places) > 1 else [key[0] for key in part]
        for row in connection.execute(statement, {_KEYS: values}):
            key = tuple([row[place] for place in places])
            # Otherwise the row would be taken for one that does not exist.
            if key not in expected:
                raise unreadable(model)
            rows[key] = dict(zip(names, row, strict=True))
    return rows


def _prepare(model: MappedModel, key_share: bool | None, dialect: str) -> Select[Value]:
    """Return the SELECT of the public columns of the rows with some keys, in their order.

    Args:
        model: the model.
        key_share: whether FOR UPDATE lets others lock keys; None for a SELECT without locks.
        dialect: the name of the dialect.
    """
    columns = model.mapper.primary_key
    selected = [model.columns[name].label(name) for name in model.public]
    if len(columns) > 1:
        matching: ColumnElement[bool] = tuple_(*columns).in_(bindparam(_KEYS, expanding=True))
    elif dialect == POSTGRESQL:
        # An array, because each number of parameters would be another text.
        array = bindparam(_KEYS, type_=ARRAY(columns[0].type, dimensions=1))
        matching = columns[0] == any_(array)
    else:
        matching = columns[0].in_(bindparam(_KEYS, expanding=True))
    rows = select(*selected).select_from(model.mapper.persist_selectable)
    rows = rows.where(matching).order_by(*columns)
    return rows if key_share is None else rows.with_for_update(key_share=key_share)


def unreadable(model: MappedModel) -> OperationError:
    """Return the error of a row that is there, and cannot be read by the key of its object."""
    names = ", ".join(model.keys)
    return OperationError(
        f"a row of {model.name} that is changed cannot be read by its key ({names}): give the key "
        "the type of its column; a trigger that changes the key, or drops the row, is not "
        "supported, and neither is a row without its part in another table of its class"
    )


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
