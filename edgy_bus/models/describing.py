"""The description of sets of rows by conditions, an order, a limit and an offset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

from sqlalchemy import Column, ColumnElement, FromClause, Select, and_, func, not_, select

from edgy_bus.database import Database
from edgy_bus.errors import OperationError
from edgy_bus.models.lookups import column_of, condition
from edgy_bus.models.rows import RowModel
from edgy_bus.sources import Value, Values
from edgy_bus.sources.statements import RowLock, materialized

M = TypeVar("M", bound=RowModel)


@dataclass(frozen=True)
class RowSet(Generic[M]):
    """Rows of one model, described by conditions, an order, a limit and an offset."""

    model: type[M]
    where: tuple[ColumnElement[bool], ...] = ()
    ordering: tuple[str, ...] = ()
    limited: int | None = None
    skipped: int | None = None
    lock: RowLock | None = None

    def filter(self, **lookups: Value) -> Self:
        """Keep rows that fulfil all of the lookups: `filter(name="Ada", age__gte=18)`."""
        return replace(self, where=(*self.where, *self._conditions(lookups)))

    def exclude(self, **lookups: Value) -> Self:
        """Keep rows that do not fulfil all of the lookups."""
        conditions = self._conditions(lookups)
        if not conditions:
            return self
        # A comparison with NULL is neither true nor false: such a row stays.
        return replace(self, where=(*self.where, not_(func.coalesce(and_(*conditions), False))))

    def order_by(self, *names: str) -> Self:
        """Sort by fields; `-name` sorts downwards."""
        for name in names:
            self._column(name.removeprefix("-"))
        return replace(self, ordering=names)

    def limit(self, count: int) -> Self:
        """Keep at most `count` rows."""
        return replace(self, limited=_checked_count("limit", count))

    def offset(self, count: int) -> Self:
        """Leave out the first `count` rows."""
        return replace(self, skipped=_checked_count("offset", count))

    def for_update(self, *, nowait: bool = False, skip_locked: bool = False) -> Self:
        """Lock the rows that are read, until the end of the transaction.

        Another task that locks, changes or deletes such a row waits; reading and inserting rows
        that refer to such a row go on. Rows are locked in the order of their keys, and, in a set
        with a limit, in the order of the set. On SQLite the transaction holds the lock of the whole
        file already.

        Args:
            nowait: raise a `DatabaseError` instead of waiting for another task's lock.
            skip_locked: leave rows out that another task has locked.

        Raises:
            OperationError: for both options at once; and, when rows are read, outside a
                transaction.
        """
        if nowait and skip_locked:
            raise OperationError("for_update() takes nowait or skip_locked, not both")
        return replace(self, lock=RowLock(nowait, skip_locked))

    @property
    def _database(self) -> Database:
        return self.model.meta.registry.database

    def _select(self, *columns: Column[Value]) -> Select[Value]:
        chosen = columns or tuple(self.model.meta.table.c)
        if self.lock is not None:
            return self._locking(self.lock, chosen)
        return self._ordered(self._plain(chosen))

    def _plain(self, columns: Sequence[Column[Value]]) -> Select[Value]:
        return select(*columns).where(*self.where).limit(self.limited).offset(self.skipped)

    def _locking(self, lock: RowLock, columns: Sequence[Column[Value]]) -> Select[Value]:
        """Return the SELECT that locks its rows. Raises `OperationError` outside a transaction."""
        if not self._database.in_transaction:
            raise OperationError(
                "for_update() locks rows until the end of a transaction, and none is open: read "
                "inside `async with database.transaction():`"
            )
        in_key_order = self.order_by("pk")
        if not self.ordering:
            return lock.of(in_key_order._ordered(self._plain(columns)))
        if self._is_cut:
            return lock.of(self._ordered(self._plain(columns)))
        # Locked in the order of keys first, then sorted: PostgreSQL locks in the order of the rows.
        table = self.model.meta.table
        locked = materialized(lock.of(in_key_order._ordered(self._plain(tuple(table.c)))), "locked")
        return self._ordered(select(*(locked.c[column.name] for column in columns)), locked)

    def _ordered(self, query: Select[Value], rows: FromClause | None = None) -> Select[Value]:
        """Sort a SELECT from the table, or from `rows` with the columns of the table."""
        source = self.model.meta.table if rows is None else rows
        for name in self.ordering:
            column = source.c[self._column(name.removeprefix("-")).name]
            query = query.order_by(column.desc() if name.startswith("-") else column.asc())
        return query

    def _narrowed(self, lookups: Values) -> Self:
        return self.filter(**lookups) if lookups else self

    def _at_most(self, count: int) -> Self:
        limited = count if self.limited is None else min(count, self.limited)
        return replace(self, limited=limited)

    def _counted(self) -> Self:
        """Return a set of as many rows, without what costs time and changes no number."""
        return replace(self, lock=None, ordering=())

    def _whole(self) -> Self:
        return type(self)(self.model)

    @property
    def _is_cut(self) -> bool:
        return self.limited is not None or self.skipped is not None

    def _columns(self, names: Sequence[str | Sequence[str]]) -> list[Column[Value]]:
        """Return the columns of names, given one by one or as one list; all without names."""
        if len(names) == 1 and isinstance(names[0], list | tuple):
            names = names[0]
        if not names:
            return list(self.model.meta.table.c)
        columns: list[Column[Value]] = []
        for name in names:
            if not isinstance(name, str):
                raise OperationError(
                    f"fields are named by texts, or by one list of texts, not by a "
                    f"{type(name).__name__}"
                )
            columns.append(self._column(name))
        return columns

    def _column(self, name: str) -> Column[Value]:
        meta = self.model.meta
        return column_of(meta.name, meta.table, meta.pk, name)

    def _conditions(self, lookups: Values) -> list[ColumnElement[bool]]:
        meta = self.model.meta
        return [condition(meta, name, value) for name, value in lookups.items()]

    def _require_whole(self, verb: str) -> None:
        if self._is_cut:
            raise OperationError(
                f"cannot {verb} a set with a limit or an offset: filter by primary key instead"
            )


def _checked_count(method: str, count: int) -> int:
    # SQLite takes a negative limit for none.
    if not isinstance(count, int) or count < 0:
        raise OperationError(f"{method}({count!r}): write a whole number that is not negative")
    return count
