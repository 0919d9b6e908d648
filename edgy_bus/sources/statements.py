"""The statements that change rows of a table, built once for each shape: only parameters change.

One rule of locking holds for all of them. Rows are locked in the order of their keys, so that two
operations wait for each other and never for ever. The lock is FOR UPDATE if rows are deleted or a
column of a unique index is assigned, and FOR NO KEY UPDATE otherwise: inserts of child rows take FOR
KEY SHARE on their parents, and only FOR UPDATE blocks them. A change of one row by its key needs no
separate lock. SQLite has no row locks: its transactions lock the whole file.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
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

from edgy_bus.sources.base import Values

POSTGRESQL = "postgresql"
KEY = "edgy_bus_key"
"""The parameter that holds the primary key of the row to change."""

_KEYS = "edgy_bus_keys"
_SHAPES = 1_000
"""Statements in memory; an application has a few for each model."""


@cache
def key_columns(table: Table) -> frozenset[str]:
    """Return the columns of the primary key and of unique indexes."""
    unique = [index.columns for index in table.indexes if index.unique]
    unique += [
        constraint.columns
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    ]
    keys = [table.primary_key.columns, *unique]
    return frozenset(column.name for columns in keys for column in columns)


def old_name(name: str) -> str:
    """Return the name under which a statement returns the value of a column before the change."""
    return f"edgy_bus_old_{name}"


def parameters(values: Values, at: int = 0) -> dict[str, Any]:
    """Return the parameters for the values of a row; `at` is the position of the row."""
    return {_parameter(name, at): value for name, value in values.items()}


def _parameter(name: str, at: int) -> str:
    # SQLAlchemy reserves the names of columns for parameters that it makes.
    return f"row_{at}_{name}"


def _assignments(table: Table, names: Sequence[str], at: int = 0) -> dict[str, Any]:
    return {name: bindparam(_parameter(name, at), type_=table.c[name].type) for name in names}


# Single rows


@lru_cache(_SHAPES)
def insert_rows(table: Table, names: Sequence[str], count: int = 1) -> Insert:
    """Return the INSERT of `count` rows with values for the same columns; returns whole rows."""
    if count == 1:
        statement = insert(table).values(_assignments(table, names))
    else:
        statement = insert(table).values([_assignments(table, names, at) for at in range(count)])
    return statement.returning(*table.c)


@lru_cache(_SHAPES)
def update_row(table: Table, pk: str, names: Sequence[str]) -> Update:
    """Return the UPDATE of these columns of the row `KEY`; returns the whole row."""
    statement = update(table).where(table.c[pk] == _key(table, pk))
    return statement.values(_assignments(table, names)).returning(*table.c)


@lru_cache(_SHAPES)
def update_row_with_old(
    table: Table, pk: str, names: Sequence[str], read: Sequence[str], *, exclusive: bool
) -> Update:
    """Return the UPDATE of the row `KEY` that also returns `read` columns as they were before.

    For PostgreSQL. The old values come from a row that is locked first and *joined*: `UPDATE … FROM t`
    returns stale values after a wait for the lock, and a locked row beside the UPDATE returns none.
    """
    columns = [table.c[pk], *(table.c[name].label(old_name(name)) for name in read)]
    found = select(*columns).where(table.c[pk] == _key(table, pk))
    before = _materialized(locked(found, exclusive=exclusive), "before")
    statement = update(table).where(table.c[pk] == before.c[pk])
    old = [before.c[old_name(name)] for name in read]
    return statement.values(_assignments(table, names)).returning(*table.c, *old)


@cache
def delete_row(table: Table, pk: str) -> Executable:
    """Return the DELETE of the row `KEY`; returns the whole row."""
    return delete(table).where(table.c[pk] == _key(table, pk)).returning(*table.c)


@cache
def select_row(table: Table, pk: str) -> Select[Any]:
    """Return the SELECT of the row `KEY`."""
    return select(table).where(table.c[pk] == _key(table, pk))


@lru_cache(_SHAPES)
def lock_row(table: Table, pk: str, read: Sequence[str], *, exclusive: bool) -> Select[Any]:
    """Return the SELECT that locks the row `KEY`; returns the key and the `read` columns."""
    found = select(*_columns(table, pk, read)).where(table.c[pk] == _key(table, pk))
    return locked(found, exclusive=exclusive)


# Sets of rows


def locked(rows: Select[Any], *, exclusive: bool) -> Select[Any]:
    """Return a SELECT that locks its rows: FOR UPDATE if `exclusive`, else FOR NO KEY UPDATE."""
    return rows.with_for_update(key_share=not exclusive)


def lock_rows(
    table: Table,
    pk: str,
    where: Sequence[ColumnElement[bool]],
    read: Sequence[str],
    *,
    exclusive: bool,
) -> Select[Any]:
    """Return the SELECT that locks rows in the order of keys; returns keys and `read` columns."""
    return locked(read_rows(table, pk, where, read).order_by(table.c[pk]), exclusive=exclusive)


def read_rows(
    table: Table, pk: str, where: Sequence[ColumnElement[bool]], read: Sequence[str]
) -> Select[Any]:
    """Return the SELECT of keys and `read` columns."""
    return select(*_columns(table, pk, read)).where(*where)


def among(column: ColumnElement[Any], keys: Sequence[Any], dialect: str) -> ColumnElement[bool]:
    """Return the condition that a key is among `keys`."""
    if dialect == POSTGRESQL:
        # One parameter: a list of parameters has a limit, and another text for each length.
        return column == any_(bindparam(_KEYS, keys, type_=ARRAY(column.type, dimensions=1)))
    return column.in_(keys)


def change_rows(
    table: Table, where: Sequence[ColumnElement[bool]], values: Values | None
) -> Update | Delete:
    """Return the UPDATE to `values`, or the DELETE for None, of all rows that match."""
    if values is None:
        return delete(table).where(*where)
    return update(table).where(*where).values(**values)


def matching(
    table: Table,
    pk: str,
    where: Sequence[ColumnElement[bool]],
    dialect: str,
    *,
    exclusive: bool,
) -> Sequence[ColumnElement[bool]]:
    """Return the conditions under which one statement changes all rows in the order of keys."""
    if dialect != POSTGRESQL:
        return where
    rows = lock_rows(table, pk, where, (), exclusive=exclusive)
    return [table.c[pk].in_(select(_materialized(rows, "matching").c[pk]))]


def _key(table: Table, pk: str) -> Any:
    return bindparam(KEY, type_=table.c[pk].type)


def _columns(table: Table, pk: str, read: Sequence[str]) -> list[Any]:
    return [table.c[name] for name in dict.fromkeys([pk, *read])]


def _materialized(rows: Select[Any], name: str) -> CTE:
    return rows.cte(name).prefix_with("MATERIALIZED", dialect=POSTGRESQL)
