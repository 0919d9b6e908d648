"""The statements that change rows of a table, built once for each shape: only parameters change.

All of them follow the same rule of locking:

- Rows are locked in the order of their keys, as the database sorts keys. So two operations on the
  same rows wait for each other, and never for ever.
- The lock is FOR UPDATE if rows are deleted or a column of a unique index is assigned, otherwise
FOR
  NO KEY UPDATE. Inserts of child rows lock their parents FOR KEY SHARE, which only FOR UPDATE
  blocks.

SQLite has no row locks: a transaction locks the whole file.
"""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    Column,
    ColumnElement,
    Delete,
    Executable,
    Insert,
    Select,
    Table,
    UniqueConstraint,
    Update,
    any_,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from edgy_bus.sources.base import Key, Values

POSTGRESQL = "postgresql"
KEY = "edgy_bus_key"
"""The parameter that holds the primary key of the row to change."""

_KEYS = "edgy_bus_keys"
_SHAPES = 1_000
"""Statements in memory; an application has a few for each model."""

KeyColumn = Column[Any]
"""The column of the primary key, which also names the table."""

Conditions = Sequence[ColumnElement[bool]]
Rows = Select[Any]
Names = tuple[str, ...]


@cache
def key_columns(table: Table) -> frozenset[str]:
    """Return the columns of the primary key and of unique indexes."""
    # `unique=True` of a column makes a constraint, or an index if the column also has `index=True`.
    unique = [index.columns for index in table.indexes if index.unique]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            unique.append(constraint.columns)
    columns = [*table.primary_key.columns]
    for group in unique:
        columns += group
    return frozenset(column.name for column in columns)


def old_name(name: str) -> str:
    """Return the name under which a statement returns the value of a column before the change."""
    return f"edgy_bus_old_{name}"


def parameters(values: Values, at: int = 0) -> dict[str, object]:
    """Return the parameters for the values of a row; `at` is the position of the row."""
    return {_parameter(name, at): value for name, value in values.items()}


def _parameter(name: str, at: int) -> str:
    # SQLAlchemy reserves the names of columns for parameters that SQLAlchemy makes.
    return f"row_{at}_{name}"


def _binds(table: Table, names: Names, at: int = 0) -> dict[str, BindParameter[Any]]:
    return {name: bindparam(_parameter(name, at), type_=table.c[name].type) for name in names}


# Single rows


@lru_cache(_SHAPES)
def insert_rows(table: Table, names: Names, count: int = 1) -> Insert:
    """Return the INSERT of `count` rows with values for the same columns; returns whole rows."""
    rows = [_binds(table, names, at) for at in range(count)]
    # A list, even of one row, would be a multi-row INSERT, which has no DEFAULT VALUES.
    statement = insert(table).values(rows if count > 1 else rows[0])
    return statement.returning(*table.c)


@lru_cache(_SHAPES)
def update_row(key: KeyColumn, names: Names) -> Update:
    """Return the UPDATE of these columns of the row `KEY`; returns the whole row."""
    table = key.table
    statement = update(table).where(_is_key(key)).values(_binds(table, names))
    return statement.returning(*table.c)


@lru_cache(_SHAPES)
def update_row_with_old(key: KeyColumn, names: Names, read: Names, *, exclusive: bool) -> Update:
    """Return the UPDATE of the row `KEY` that also returns `read` columns as they were before.

    For PostgreSQL.
    """
    table = key.table
    old = [table.c[name].label(old_name(name)) for name in read]
    row = select(key, *old).where(_is_key(key))
    # The old values must come from a row that is locked first, and joined. After a wait for the
    # lock, `UPDATE … FROM t` returns values from before the wait, and a locked row *beside* the
    # UPDATE, not joined, returns no values at all.
    before = _materialized(locked(row, exclusive=exclusive), "before")
    statement = update(table).where(key == before.c[key.name]).values(_binds(table, names))
    old_values = [before.c[old_name(name)] for name in read]
    return statement.returning(*table.c, *old_values)


@cache
def delete_row(key: KeyColumn) -> Executable:
    """Return the DELETE of the row `KEY`; returns the whole row."""
    return delete(key.table).where(_is_key(key)).returning(*key.table.c)


@cache
def select_row(key: KeyColumn) -> Rows:
    """Return the SELECT of the row `KEY`."""
    return select(key.table).where(_is_key(key))


@lru_cache(_SHAPES)
def lock_row(key: KeyColumn, read: Names, *, exclusive: bool) -> Rows:
    """Return the SELECT that locks the row `KEY`; returns the key and the `read` columns."""
    return locked(read_rows(key, [_is_key(key)], read), exclusive=exclusive)


# Sets of rows


def locked(rows: Rows, *, exclusive: bool) -> Rows:
    """Return a SELECT that locks its rows: FOR UPDATE if `exclusive`, else FOR NO KEY UPDATE."""
    # SQLAlchemy calls FOR NO KEY UPDATE `key_share`: a lock that shares with FOR KEY SHARE.
    return rows.with_for_update(key_share=not exclusive)


def lock_rows(key: KeyColumn, where: Conditions, read: Iterable[str], *, exclusive: bool) -> Rows:
    """Return the SELECT that locks rows in the order of keys; returns keys and `read` columns."""
    # PostgreSQL sorts before it locks.
    ordered = read_rows(key, where, read).order_by(key)
    return locked(ordered, exclusive=exclusive)


def read_rows(key: KeyColumn, where: Conditions, read: Iterable[str]) -> Rows:
    """Return the SELECT of keys and `read` columns."""
    columns = [key.table.c[name] for name in read if name != key.name]
    return select(key, *columns).where(*where)


def among(key: KeyColumn, keys: Sequence[Key], dialect: str) -> ColumnElement[bool]:
    """Return the condition that the key is among `keys`."""
    if dialect == POSTGRESQL:
        # An array, because parameters are limited in number, and each number would be another text.
        array = bindparam(_KEYS, keys, type_=ARRAY(key.type, dimensions=1))
        return key == any_(array)
    return key.in_(keys)


def change_rows(table: Table, where: Conditions, values: Values | None) -> Update | Delete:
    """Return the UPDATE to `values`, or the DELETE for None, of all rows that match."""
    if values is None:
        return delete(table).where(*where)
    return update(table).where(*where).values(**values)


def matching(key: KeyColumn, where: Conditions, dialect: str, *, exclusive: bool) -> Conditions:
    """Return the conditions under which one statement changes all rows in the order of keys."""
    if dialect != POSTGRESQL:
        return where
    # An UPDATE locks rows in the order in which it meets them: in the order of the heap, for
    # example.
    rows = _materialized(lock_rows(key, where, (), exclusive=exclusive), "matching")
    return [key.in_(select(rows.c[key.name]))]


def _is_key(key: KeyColumn) -> ColumnElement[bool]:
    return key == bindparam(KEY, type_=key.type)


def _materialized(rows: Rows, name: str) -> CTE:
    # PostgreSQL may merge other CTEs into the statement, and lock in another order.
    return rows.cte(name).prefix_with("MATERIALIZED", dialect=POSTGRESQL)
