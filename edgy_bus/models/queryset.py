"""Sets of rows: described without touching the database, then asked for, changed or deleted."""

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, not_, select, update

from edgy_bus.database import Row
from edgy_bus.errors import IntegrityError, MultipleObjectsReturned, ObjectNotFound, OperationError
from edgy_bus.models.lookups import column_of, condition
from edgy_bus.models.operations import PAGE, Operation, Paging, Plan, perform
from edgy_bus.models.statements import KEY, update_row

if TYPE_CHECKING:
    from edgy_bus.models.model import Model

M = TypeVar("M", bound="Model")

BULK = 400
"""Rows per INSERT: databases limit the values of one statement."""


@dataclass(frozen=True)
class QuerySet(Generic[M]):
    """Rows of one model. Every method that narrows it answers a new one; `await` it, or iterate with `async for`.

    `create`, `update` and `delete` send the model's signals. On a set, local receivers are called once, with the QuerySet as
    `instance` and None as `model_instance`; the bus gets one event for each row.
    """

    model: type[M]
    where: tuple[ColumnElement[bool], ...] = ()
    ordering: tuple[str, ...] = ()
    limited: int | None = None
    skipped: int | None = None

    # Describing

    def filter(self, **lookups: Any) -> "QuerySet[M]":
        """Rows for which all of these hold: `filter(name="Ada", age__gte=18)`."""
        return replace(self, where=(*self.where, *self._conditions(lookups)))

    def exclude(self, **lookups: Any) -> "QuerySet[M]":
        """Rows for which not all of these hold."""
        conditions = self._conditions(lookups)
        if not conditions:
            return self
        # A comparison with NULL is neither true nor false: such a row does not fulfil it, so it stays.
        return replace(self, where=(*self.where, not_(func.coalesce(and_(*conditions), False))))

    def order_by(self, *names: str) -> "QuerySet[M]":
        """Sort by fields; `-name` sorts downwards."""
        for name in names:
            self._column(name.removeprefix("-"))
        return replace(self, ordering=names)

    def limit(self, count: int) -> "QuerySet[M]":
        return replace(self, limited=count)

    def offset(self, count: int) -> "QuerySet[M]":
        return replace(self, skipped=count)

    # Asking

    async def all(self) -> list[M]:
        """Every row of the set."""
        result = await self._database.run(self._select())
        return [self.model.from_row(row) for row in result.rows]

    def __await__(self) -> Generator[Any, None, list[M]]:
        return self.all().__await__()

    async def __aiter__(self) -> AsyncIterator[M]:
        """Rows in pages, with no transaction held open between them.

        Which rows there are, and their order, is decided at the start; a row that is deleted before its page is read is left
        out. Of rows that are still to come, only the keys are in memory.
        """
        key = self._column("pk")
        ordered = self if self.ordering else self.order_by("pk")
        keys = [row[key.name] for row in (await self._database.run(ordered._select(key))).rows]
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            found = {one.pk: one for one in await QuerySet(self.model).filter(pk__in=page)}
            for wanted in page:
                if wanted in found:
                    yield found[wanted]

    async def get(self, **lookups: Any) -> M:
        """The one row. Raises `ObjectNotFound` or `MultipleObjectsReturned`."""
        found = await self.filter(**lookups).limit(2).all()
        name = self.model.__name__
        if not found:
            raise ObjectNotFound(f"no {name} with {_described(lookups)}")
        if len(found) > 1:
            raise MultipleObjectsReturned(f"more than one {name} with {_described(lookups)}")
        return found[0]

    async def get_or_none(self, **lookups: Any) -> M | None:
        """The one row, or None. Raises `MultipleObjectsReturned`."""
        try:
            return await self.get(**lookups)
        except ObjectNotFound:
            return None

    async def first(self) -> M | None:
        """The first row by the set's order, or by primary key."""
        ordered = self if self.ordering else self.order_by(self.model.meta.pk)
        found = await ordered.limit(1).all()
        return found[0] if found else None

    async def last(self) -> M | None:
        """The last row by the set's order, or by primary key. Raises `OperationError` for a set with a limit or an offset."""
        self._require_whole("take the last of")
        names = self.ordering or ("pk",)
        turned = [name[1:] if name.startswith("-") else f"-{name}" for name in names]
        return await self.order_by(*turned).first()

    async def values(self, *names: str) -> list[dict[str, Any]]:
        """Rows as dicts of these fields, or of all."""
        columns = [self._column(name) for name in names] or list(self.model.meta.table.c)
        return list((await self._database.run(self._select(*columns))).rows)

    async def values_list(self, *names: str, flat: bool = False) -> list[Any]:
        """Rows as tuples of these fields, or of all; `flat` gives the values of one field."""
        if flat and len(names) != 1:
            raise OperationError(f"values_list(flat=True) takes one field, not {len(names)}")
        rows = await self.values(*names)
        return (
            [next(iter(row.values())) for row in rows]
            if flat
            else [tuple(row.values()) for row in rows]
        )

    async def exists(self, **lookups: Any) -> bool:
        query = self.filter(**lookups).limit(1)._select(self._column("pk"))
        return bool((await self._database.run(query)).rows)

    async def count(self) -> int:
        query = select(func.count().label("n")).select_from(self._select().subquery())
        return int((await self._database.run(query)).rows[0]["n"])

    # Changing

    async def create(self, **values: Any) -> M:
        """Save a new row."""
        instance = self.model(**values)
        await instance.save()
        return instance

    async def get_or_create(
        self, defaults: Mapping[str, Any] | None = None, **values: Any
    ) -> tuple[M, bool]:
        """The one row with these values, or a new one that has `defaults` as well; and whether it is new.

        Sends the save signals if it creates. Where another task creates the row at the same moment, and a unique constraint
        tells, it is theirs that is answered.
        """
        found = await self.get_or_none(**values)
        if found is not None:
            return found, False
        try:
            async with self._database.transaction():
                return await self.create(**{**values, **(defaults or {})}), True
        except IntegrityError:
            found = await self.get_or_none(**values)
            if found is None:
                raise
            return found, False

    async def update_or_create(
        self, defaults: Mapping[str, Any] | None = None, **values: Any
    ) -> tuple[M, bool]:
        """The one row with these values, updated with `defaults`, or a new one that has both; and whether it is new.

        Sends the update signals or the save signals.
        """
        async with self._database.transaction():
            row, created = await self.get_or_create(defaults, **values)
            if not created and defaults:
                await row.update(**defaults)
        return row, created

    async def bulk_update(self, rows: Iterable[M], fields: Iterable[str]) -> int:
        """Write these fields of many instances, in one transaction; answers how many rows there were. Sends the update signals."""
        instances, names = list(rows), tuple(fields)
        if not instances or not names:
            return 0

        def plan() -> Plan:
            values = [
                self.model.checked_values({name: getattr(one, name) for name in names})
                for one in instances
            ]
            statement = update_row(self.model.meta.table, self.model.meta.pk)
            steps = [
                (statement, {**given, KEY: one.pk})
                for one, given in zip(instances, values, strict=True)
            ]
            old = {one.pk: one.stored_row for one in instances}
            return Plan(
                self.model, "post_update", steps, assigned=tuple(values[0]), old=old, is_update=True
            )

        assigned = [{name: getattr(one, name) for name in names} for one in instances]
        saved = await self._perform("update", assigned, plan, is_update=True)
        known = {one.pk: one for one in instances}
        for row in saved:
            known[row[self.model.meta.pk]].take_row(row)
        return len(saved)

    async def bulk_create(self, rows: Iterable[M | Mapping[str, Any]]) -> list[M]:
        """Save many new rows, in one transaction; answers them as the database has them. Sends the save signals."""
        instances = [row if isinstance(row, self.model) else self.model(**row) for row in rows]  # type: ignore[arg-type]
        if not instances:
            return []

        def plan() -> Plan:
            values = [instance.insert_values() for instance in instances]
            table = self.model.meta.table
            alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            for one in values:
                alike.setdefault(tuple(one), []).append(one)
            chunks = [
                group[at : at + BULK]
                for group in alike.values()
                for at in range(0, len(group), BULK)
            ]
            return Plan(
                self.model,
                "post_save",
                [(insert(table).values(chunk).returning(*table.c), None) for chunk in chunks],
            )

        saved = await self._perform(
            "save", [instance.field_values() for instance in instances], plan
        )
        return [self.model.from_row(row) for row in saved]

    async def update(self, *, expand: bool = True, **values: Any) -> int:
        """Change every row of the set; answers how many there were.

        `expand=False` puts a single event for the set on the bus instead of one for each row: cheaper for large sets, but it
        tells no rows, and has no place in the order of any row's events.
        """
        self._require_whole("update")
        table = self.model.meta.table

        def plan() -> Plan:
            checked = self.model.checked_values(values)
            if not expand:
                statement = (
                    update(table).where(*self.where).values(**checked).returning(self._column("pk"))
                )
                told = self.model.meta.public_row(checked)
                return Plan(
                    self.model, "post_update", [(statement, None)], is_update=True, whole=told
                )
            old = [self._column("pk"), *(table.c[name] for name in checked)]

            def change(rows: QuerySet[M]) -> Plan:
                statement = update(table).where(*rows.where).values(**checked).returning(*table.c)
                return Plan(
                    self.model,
                    "post_update",
                    [(statement, None)],
                    assigned=tuple(checked),
                    before=(rows._select(*old), None),
                    is_update=True,
                )

            return self._paged(change)

        return len(await self._perform("update", values, plan, is_update=True))

    async def delete(self, *, expand: bool = True) -> int:
        """Delete every row of the set; answers how many there were. `expand=False`: as for `update`."""
        self._require_whole("delete")
        table = self.model.meta.table
        if not expand:
            statement = delete(table).where(*self.where).returning(self._column("pk"))
            plan = Plan(self.model, "post_delete", [(statement, None)], whole={})
            return len(await self._perform("delete", None, lambda: plan))

        def remove(rows: QuerySet[M]) -> Plan:
            return Plan(
                self.model,
                "post_delete",
                [(delete(table).where(*rows.where).returning(*table.c), None)],
            )

        return len(await self._perform("delete", None, lambda: self._paged(remove)))

    def _paged(self, plan: Callable[["QuerySet[M]"], Plan]) -> Plan:
        """The plan for the whole set, and for a page of it."""
        # In the order of keys, so that two changes of the same rows wait for each other instead of locking each other out.
        keys = self.order_by("pk")._select(self._column("pk")).with_for_update()
        paging = Paging((keys, None), lambda page: plan(QuerySet(self.model).filter(pk__in=page)))
        return replace(plan(self), paging=paging)

    async def _perform(
        self, action: str, values: Any, plan: Any, *, is_update: bool = False
    ) -> list[Row]:
        return await perform(
            Operation(
                model=self.model,
                action=action,
                instance=self,
                values=values,
                plan=plan,
                apply=lambda _: None,
                is_update=is_update,
            )
        )

    @property
    def _database(self) -> Any:
        return self.model.meta.registry.database

    def _select(self, *columns: ColumnElement[Any]) -> Select[Any]:
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

    def _column(self, name: str) -> Any:
        meta = self.model.meta
        return column_of(meta.name, meta.table, meta.pk, name)

    def _conditions(self, lookups: Mapping[str, Any]) -> list[ColumnElement[bool]]:
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


def _described(lookups: Mapping[str, Any]) -> str:
    return ", ".join(lookups) or "the given conditions"
