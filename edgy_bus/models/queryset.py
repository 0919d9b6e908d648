"""Sets of rows: described without any SQL, then read, changed or deleted."""

from collections.abc import AsyncIterator, Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from sqlalchemy import Column, ColumnElement, Select, and_, func, not_, select

from edgy_bus.database import Database, Row
from edgy_bus.errors import IntegrityError, MultipleObjectsReturned, ObjectNotFound, OperationError
from edgy_bus.models.lookups import column_of, condition
from edgy_bus.models.operations import Operation, perform
from edgy_bus.models.rows import RowModel
from edgy_bus.sources import (
    PAGE,
    ChangeSet,
    InsertRows,
    RowChange,
    UpdateRows,
    Value,
    Values,
    Write,
)
from edgy_bus.sources.statements import key_columns

M = TypeVar("M", bound=RowModel)


@dataclass(frozen=True)
class QuerySet(Generic[M]):
    """Rows of one model: `await` a QuerySet, or iterate over it with `async for`.

    Methods that narrow a set return a new QuerySet. `create`, `update` and `delete` send the
    model's signals. Local receivers of a set are called once, with the QuerySet as `instance` and
    None as `model_instance`; the bus gets an event for each row.
    """

    model: type[M]
    where: tuple[ColumnElement[bool], ...] = ()
    ordering: tuple[str, ...] = ()
    limited: int | None = None
    skipped: int | None = None

    # Describing

    def filter(self, **lookups: Value) -> "QuerySet[M]":
        """Keep rows that fulfil all of the lookups: `filter(name="Ada", age__gte=18)`."""
        return replace(self, where=(*self.where, *self._conditions(lookups)))

    def exclude(self, **lookups: Value) -> "QuerySet[M]":
        """Keep rows that do not fulfil all of the lookups."""
        conditions = self._conditions(lookups)
        if not conditions:
            return self
        # A comparison with NULL is neither true nor false: such a row stays.
        return replace(self, where=(*self.where, not_(func.coalesce(and_(*conditions), False))))

    def order_by(self, *names: str) -> "QuerySet[M]":
        """Sort by fields; `-name` sorts downwards."""
        for name in names:
            self._column(name.removeprefix("-"))
        return replace(self, ordering=names)

    def limit(self, count: int) -> "QuerySet[M]":
        """Keep at most `count` rows."""
        return replace(self, limited=count)

    def offset(self, count: int) -> "QuerySet[M]":
        """Leave out the first `count` rows."""
        return replace(self, skipped=count)

    # Reading

    async def all(self) -> list[M]:
        """Return every row of the set."""
        result = await self._database.run(self._select())
        return [self.model.from_row(row) for row in result.rows]

    def __await__(self) -> Generator[Value, None, list[M]]:
        return self.all().__await__()

    async def __aiter__(self) -> AsyncIterator[M]:
        """Read rows in pages, without an open transaction between the pages.

        The start decides on the rows and their order; a row that is deleted before its page is read
        is left out. Memory holds one page, and the keys of all rows.
        """
        # Keys first, then rows by key: pages by OFFSET would skip or repeat rows that change.
        column = self._column("pk")
        ordered = self if self.ordering else self.order_by("pk")
        selected = await self._database.run(ordered._select(column))
        keys = [row[column.name] for row in selected.rows]
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            # Not from this set: a row stays in the iteration even if it no longer matches.
            rows = {row.pk: row for row in await QuerySet(self.model).filter(pk__in=page)}
            for key in page:
                if key in rows:
                    yield rows[key]

    async def get(self, **lookups: Value) -> M:
        """Return the only row. Raises `ObjectNotFound` or `MultipleObjectsReturned`."""
        # Two rows suffice to see that there are several.
        rows = await self.filter(**lookups).limit(2).all()
        name = self.model.__name__
        if not rows:
            raise ObjectNotFound(f"no {name} with {_described(lookups)}")
        if len(rows) > 1:
            raise MultipleObjectsReturned(f"more than one {name} with {_described(lookups)}")
        return rows[0]

    async def get_or_none(self, **lookups: Value) -> M | None:
        """Return the only row, or None. Raises `MultipleObjectsReturned`."""
        try:
            return await self.get(**lookups)
        except ObjectNotFound:
            return None

    async def first(self) -> M | None:
        """Return the first row by the set's order, or by primary key; None for an empty set."""
        ordered = self if self.ordering else self.order_by(self.model.meta.pk)
        rows = await ordered.limit(1).all()
        return rows[0] if rows else None

    async def last(self) -> M | None:
        """Return the last row by the set's order, or by primary key; None for an empty set.

        Raises `OperationError` for a set with a limit or an offset.
        """
        self._require_whole("take the last of")
        names = self.ordering or ("pk",)
        turned = [name[1:] if name.startswith("-") else f"-{name}" for name in names]
        return await self.order_by(*turned).first()

    async def values(self, *names: str) -> list[Row]:
        """Return rows as dicts of these fields, or of all fields."""
        columns = [self._column(name) for name in names] or list(self.model.meta.table.c)
        return list((await self._database.run(self._select(*columns))).rows)

    async def values_list(self, *names: str, flat: bool = False) -> list[Value]:
        """Return rows as tuples of these fields, or of all; `flat` returns values of a field."""
        if flat and len(names) != 1:
            raise OperationError(f"values_list(flat=True) takes one field, not {len(names)}")
        rows = await self.values(*names)
        tuples = [tuple(row.values()) for row in rows]
        return [values[0] for values in tuples] if flat else tuples

    async def exists(self, **lookups: Value) -> bool:
        """Return whether a row fulfils all of the lookups."""
        query = self.filter(**lookups).limit(1)._select(self._column("pk"))
        return bool((await self._database.run(query)).rows)

    async def count(self) -> int:
        """Return the number of rows."""
        # A subquery, because a limit or an offset counts, too.
        query = select(func.count().label("n")).select_from(self._select().subquery())
        return int((await self._database.run(query)).rows[0]["n"])

    # Changing

    async def create(self, **values: Value) -> M:
        """Save a new row, and return the instance."""
        instance = self.model(**values)
        await instance.save()
        return instance

    async def get_or_create(
        self, defaults: Values | None = None, **values: Value
    ) -> tuple[M, bool]:
        """Return the row with these values, or a new row with `defaults` as well; and which.

        The second part of the result is True for a new row.

        Sends the save signals for a new row. If another task creates the row at the same moment and
        a unique constraint reports that, the other task's row is returned.
        """
        row = await self.get_or_none(**values)
        if row is not None:
            return row, False
        try:
            # A savepoint: on PostgreSQL, the failed INSERT would end the caller's transaction.
            async with self._database.transaction():
                return await self.create(**{**values, **(defaults or {})}), True
        except IntegrityError:
            row = await self.get_or_none(**values)
            # Another constraint refused the row.
            if row is None:
                raise
            return row, False

    async def update_or_create(
        self, defaults: Values | None = None, **values: Value
    ) -> tuple[M, bool]:
        """Return the row with these values, updated with `defaults`, or a new row; and which.

        Sends the update signals or the save signals.
        """
        async with self._database.transaction():
            row, created = await self.get_or_create(defaults, **values)
            if not created and defaults:
                await row.update(**defaults)
        return row, created

    async def bulk_update(self, rows: Iterable[M], fields: Iterable[str]) -> int:
        """Write these fields of many instances, in one transaction, and send the update signals.

        Returns the number of rows.
        """
        instances, names = list(rows), tuple(fields)
        if not instances or not names:
            return 0
        meta = self.model.meta

        # Made after the receivers of `pre_update` have run: they may have changed the instances.
        def write(_: bool) -> Write:
            updates = [
                (instance.pk, self.model.checked_values(_values_of(instance, names)))
                for instance in instances
            ]
            exclusive = not key_columns(meta.table).isdisjoint(updates[0][1])
            return UpdateRows(meta, "post_update", updates, exclusive)

        values = [_values_of(instance, names) for instance in instances]
        changes = await self._perform("update", values, write, is_update=True)
        instance_of = {instance.pk: instance for instance in instances}
        for change in changes:
            instance_of[change.key].take_row(change.row)
        return len(changes)

    async def bulk_create(self, rows: Iterable[M | Values]) -> list[M]:
        """Save many new rows, in one transaction, and send the save signals.

        Returns the rows as the database has them, in the order given.
        """
        instances = [self._instance_of(row) for row in rows]
        if not instances:
            return []
        meta = self.model.meta
        written: list[Values] = []

        def write(_: bool) -> Write:
            written.extend(instance.insert_values() for instance in instances)
            return InsertRows(meta, "post_save", written)

        values = [instance.field_values() for instance in instances]
        changes = await self._perform("save", values, write)
        keys = [values.get(meta.pk) for values in written]
        return [self.model.from_row(change.row) for change in _in_order(changes, keys)]

    def _instance_of(self, row: M | Values) -> M:
        return row if isinstance(row, self.model) else self.model(**row)  # type: ignore[arg-type]

    async def update(self, *, expand: bool = True, **values: Value) -> int:
        """Change every row of the set, and return the number of rows.

        `expand=False` puts a single event for the set on the bus instead of an event for each row:
        cheaper for large sets, but the event contains no rows, and has no place in the order of any
        row's events.
        """
        self._require_whole("update")
        meta = self.model.meta

        def write(_: bool) -> Write:
            checked = self.model.checked_values(values)
            return ChangeSet(meta, "post_update", self.where, checked, expand)

        return len(await self._perform("update", values, write, is_update=True))

    async def delete(self, *, expand: bool = True) -> int:
        """Delete every row of the set, and return the number of rows. `expand` as for `update`."""
        self._require_whole("delete")
        write = ChangeSet(self.model.meta, "post_delete", self.where, None, expand)
        return len(await self._perform("delete", None, lambda _: write))

    async def _perform(
        self,
        action: str,
        values: Value,
        write: Callable[[bool], Write],
        *,
        is_update: bool = False,
    ) -> list[RowChange]:
        return await perform(
            Operation(
                model=self.model.meta,
                action=action,
                instance=self,
                values=values,
                write=write,
                is_update=is_update,
            )
        )

    @property
    def _database(self) -> Database:
        return self.model.meta.registry.database

    def _select(self, *columns: ColumnElement[Value]) -> Select[Value]:
        query = (
            select(*(columns or (self.model.meta.table,)))
            .where(*self.where)
            .limit(self.limited)
            .offset(self.skipped)
        )
        for name in self.ordering:
            column = self._column(name.removeprefix("-"))
            query = query.order_by(column.desc() if name.startswith("-") else column.asc())
        return query

    def _column(self, name: str) -> Column[Value]:
        meta = self.model.meta
        return column_of(meta.name, meta.table, meta.pk, name)

    def _conditions(self, lookups: Values) -> list[ColumnElement[bool]]:
        meta = self.model.meta
        return [
            condition(meta.name, meta.table, meta.pk, name, value)
            for name, value in lookups.items()
        ]

    def _require_whole(self, verb: str) -> None:
        if self.limited is not None or self.skipped is not None:
            raise OperationError(
                f"cannot {verb} a set with a limit or an offset: filter by primary key instead"
            )


def _values_of(instance: RowModel, names: Iterable[str]) -> Row:
    return {name: getattr(instance, name) for name in names}


def _in_order(changes: list[RowChange], keys: list[Value]) -> list[RowChange]:
    """Return inserted rows in the order of `keys`; None stands for a key that the database made."""
    # Rows with a key were inserted in the order of keys, the others in the order given.
    by_key = {change.key: change for change in changes}
    chosen = set(keys)
    generated = iter([change for change in changes if change.key not in chosen])
    ordered = [next(generated, None) if key is None else by_key.get(key) for key in keys]
    # A trigger may have refused a row in silence.
    return [change for change in ordered if change is not None]


def _described(lookups: Values) -> str:
    return ", ".join(lookups) or "the given conditions"
