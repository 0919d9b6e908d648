"""The statements that change rows of a table, built once for each shape: only parameters change.

All of them follow the same rule of locking:

- Rows are locked in the order of their keys, as the database sorts keys. So two operations on the
  same rows wait for each other, and never for ever.
- The lock is FOR UPDATE if rows are deleted or a column of a unique index is assigned, otherwise
  FOR NO KEY UPDATE. Inserts of child rows lock their parents FOR KEY SHARE, which only FOR UPDATE
  blocks.

SQLite has no row locks: a transaction locks the whole file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

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
from edgy_bus.sources.expressions import Formula, computed, is_computed

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
    return frozenset(column.name for column in table.primary_key) | set(unique_columns(table))


@cache
def unique_columns(table: Table) -> Names:
    """Return the columns of unique indexes: index by index, in an order that is always the same."""
    # `unique=True` of a column makes a constraint, or an index if the column also has `index=True`.
    groups = [index.columns for index in table.indexes if index.unique]
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            groups.append(constraint.columns)
    ordered = sorted(tuple(column.name for column in group) for group in groups)
    return tuple(dict.fromkeys(name for group in ordered for name in group))


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


class Assignment(NamedTuple):
    """The assignments of an UPDATE: their shape, and the values of their parameters.

    Attributes:
        names: the columns that are set to parameters.
        formulas: the expressions that other columns are set to.
        parameters: the values of all parameters.
    """

    names: Names
    formulas: tuple[Formula, ...]
    parameters: dict[str, object]


def assignment(table: Table, values: Values, dialect: str) -> Assignment:
    """Return the assignments of values, of which the database may compute some.

    Raises `OperationError` for an expression that names an unknown field.
    """
    if not any(map(is_computed, values.values())):
        return Assignment(tuple(values), (), parameters(values))
    plain = {name: value for name, value in values.items() if not is_computed(value)}
    formulas = tuple(
        Formula(name, computed(table, name, value, dialect))
        for name, value in values.items()
        if name not in plain
    )
    arguments = parameters(plain)
    for formula in formulas:
        arguments |= formula.parameters()
    return Assignment(tuple(plain), formulas, arguments)


def _assigned(key: KeyColumn, names: Names, formulas: tuple[Formula, ...]) -> dict[str, object]:
    values: dict[str, object] = dict(_binds(key.table, names))
    values |= {formula.column: formula.sql() for formula in formulas}
    # There is no UPDATE without assignments. The save of a row that has nothing but its key still
    # looks whether the row is there, locks it, and has an event.
    return values or {key.name: key}


# Single rows


@lru_cache(_SHAPES)
def insert_rows(table: Table, names: Names, count: int = 1) -> Insert:
    """Return the INSERT of `count` rows with values for the same columns; returns whole rows."""
    rows = [_binds(table, names, at) for at in range(count)]
    # A list, even of one row, would be a multi-row INSERT, which has no DEFAULT VALUES.
    statement = insert(table).values(rows if count > 1 else rows[0])
    return statement.returning(*table.c)


@lru_cache(_SHAPES)
def update_row(key: KeyColumn, names: Names, formulas: tuple[Formula, ...] = ()) -> Update:
    """Return the UPDATE of these columns of the row `KEY`; returns the whole row."""
    table = key.table
    statement = update(table).where(_is_key(key)).values(_assigned(key, names, formulas))
    return statement.returning(*table.c)


@lru_cache(_SHAPES)
def update_row_with_old(
    key: KeyColumn,
    names: Names,
    read: Names,
    *,
    exclusive: bool,
    formulas: tuple[Formula, ...] = (),
) -> Update:
    """Return the UPDATE of the row `KEY` that also returns `read` columns as they were before.

    For PostgreSQL.
    """
    table = key.table
    old = [table.c[name].label(old_name(name)) for name in read]
    row = select(key, *old).where(_is_key(key))
    # The old values must come from a row that is locked first, and joined. After a wait for the
    # lock, `UPDATE … FROM t` returns values from before the wait, and a locked row *beside* the
    # UPDATE, not joined, returns no values at all.
    before = materialized(locked(row, exclusive=exclusive), "before")
    statement = update(table).where(key == before.c[key.name])
    statement = statement.values(_assigned(key, names, formulas))
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


@dataclass(frozen=True)
class RowLock:
    """The lock of the rows that an application reads in order to change them.

    Attributes:
        nowait: whether a row that is locked is an error.
        skip_locked: whether a row that is locked is left out.
    """

    nowait: bool = False
    skip_locked: bool = False

    def of(self, rows: Rows) -> Rows:
        """Return a SELECT that locks its rows FOR NO KEY UPDATE."""
        return rows.with_for_update(
            key_share=True, nowait=self.nowait, skip_locked=self.skip_locked
        )


def lock_rows(key: KeyColumn, where: Conditions, read: Iterable[str], *, exclusive: bool) -> Rows:
    """Return the SELECT that locks rows in the order of keys; returns keys and `read` columns."""
    # PostgreSQL sorts before it locks.
    ordered = read_rows(key, where, read).order_by(key)
    return locked(ordered, exclusive=exclusive)


def last_key(key: KeyColumn, where: Conditions) -> Rows:
    """Return the SELECT of the greatest key."""
    # PostgreSQL has no MAX of a UUID.
    return select(key).where(*where).order_by(key.desc()).limit(1)


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


def change_rows(
    table: Table, where: Conditions, values: Values | None, dialect: str
) -> Update | Delete:
    """Return the UPDATE to `values`, or the DELETE for None, of all rows that match."""
    if values is None:
        return delete(table).where(*where)
    assigned = {
        name: computed(table, name, value, dialect) if is_computed(value) else value
        for name, value in values.items()
    }
    return update(table).where(*where).values(assigned)


def matching(key: KeyColumn, where: Conditions, dialect: str, *, exclusive: bool) -> Conditions:
    """Return the conditions under which one statement changes all rows in the order of keys."""
    if dialect != POSTGRESQL:
        return where
    # An UPDATE locks rows in the order in which it meets them: in the order of the heap, for
    # example.
    rows = materialized(lock_rows(key, where, (), exclusive=exclusive), "matching")
    return [key.in_(select(rows.c[key.name]))]


def _is_key(key: KeyColumn) -> ColumnElement[bool]:
    return key == bindparam(KEY, type_=key.type)


def materialized(rows: Rows, name: str) -> CTE:
    """Return a SELECT as a part of another statement that PostgreSQL runs as it is."""
    # PostgreSQL may merge other CTEs into the statement, and lock in another order.
    return rows.cte(name).prefix_with("MATERIALIZED", dialect=POSTGRESQL)
