"""The reading of sets of rows."""

from collections.abc import AsyncIterator, Generator, Sequence
from typing import TYPE_CHECKING, Never

from sqlalchemy import func, select

from edgy_bus.database import Row
from edgy_bus.errors import (
    MultipleObjectsReturned,
    ObjectNotFound,
    OperationError,
    UnknownAttribute,
)
from edgy_bus.models.describing import M, RowSet
from edgy_bus.signals.spelling import suggestion
from edgy_bus.sources import PAGE, Value, Values


class ReadableSet(RowSet[M]):
    """Rows of one model that can be read."""

    async def all(self, **lookups: Value) -> list[M]:
        """Return every row of the set, or every row that fulfils all of the lookups."""
        result = await self._database.run(self._narrowed(lookups)._select())
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
            rows = {row.pk: row for row in await self._whole().filter(pk__in=page)}
            for key in page:
                if key in rows:
                    yield rows[key]

    async def get(self, **lookups: Value) -> M:
        """Return the only row. Raises `ObjectNotFound` or `MultipleObjectsReturned`."""
        # Two rows suffice to see that there are several.
        rows = await self._narrowed(lookups)._at_most(2).all()
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

    async def first(self, **lookups: Value) -> M | None:
        """Return the first row by the set's order, or by primary key; None for an empty set.

        With lookups: the first of the rows that fulfil all of them.
        """
        narrowed = self._narrowed(lookups)
        ordered = narrowed if narrowed.ordering else narrowed.order_by("pk")
        rows = await ordered._at_most(1).all()
        return rows[0] if rows else None

    async def last(self, **lookups: Value) -> M | None:
        """Return the last row by the set's order, or by primary key; None for an empty set.

        With lookups: the last of the rows that fulfil all of them. Raises `OperationError` for a
        set with a limit or an offset.
        """
        self._require_whole("take the last of")
        names = self.ordering or ("pk",)
        turned = [name[1:] if name.startswith("-") else f"-{name}" for name in names]
        return await self.order_by(*turned).first(**lookups)

    async def values(self, *names: str | Sequence[str]) -> list[Row]:
        """Return rows as dicts of these fields, or of all fields.

        The names come one by one or as a list: `values("name")` and `values(["name"])`.
        """
        columns = self._columns(names)
        return list((await self._database.run(self._select(*dict.fromkeys(columns)))).rows)

    async def values_list(self, *names: str | Sequence[str], flat: bool = False) -> list[Value]:
        """Return rows as tuples of these fields, or of all; `flat` returns values of a field."""
        columns = self._columns(names)
        if flat and (len(columns) != 1 or not names):
            count = len(columns) if names else 0
            raise OperationError(f"values_list(flat=True) takes one field, not {count}")
        rows = await self.values(*[column.name for column in columns])
        if flat:
            return [row[columns[0].name] for row in rows]
        return [tuple(row[column.name] for column in columns) for row in rows]

    async def exists(self, **lookups: Value) -> bool:
        """Return whether a row fulfils all of the lookups."""
        query = self._narrowed(lookups)._counted()._at_most(1)._select(self._column("pk"))
        return bool((await self._database.run(query)).rows)

    async def count(self, **lookups: Value) -> int:
        """Return the number of rows, or of the rows that fulfil all of the lookups."""
        # A subquery, because a limit or an offset counts, too.
        rows = self._narrowed(lookups)._counted()._select(self._column("pk")).subquery()
        query = select(func.count().label("n")).select_from(rows)
        return int((await self._database.run(query)).rows[0]["n"])

    # Hidden from type checkers, which would take every attribute for one that exists.
    if not TYPE_CHECKING:
        # A set is read asynchronously, so that none of these can answer. Without `__bool__`, every
        # set would be true, also an empty set.

        def __bool__(self) -> Never:
            raise self._not_here("has no truth value", "if await {}.exists()")

        def __len__(self) -> Never:
            raise self._not_here("has no length", "await {}.count()")

        def __iter__(self) -> Never:
            raise self._not_here("is read asynchronously", "async for row in {}")

        def __getitem__(self, index: object) -> Never:
            raise self._not_here("has no index", "await {}.limit(…).offset(…)")

        def _not_here(self, reason: str, call: str) -> OperationError:
            query = f"{self.model.__name__}.query"
            return OperationError(f"a set of {query} {reason}: write `{call.format(query)}`")

        def __setattr__(self, name: str, value: object) -> None:
            if name in self.model.meta.fields:
                raise UnknownAttribute(_FIELD.format(model=self.model.__name__, name=name))
            super().__setattr__(name, value)

        def __getattr__(self, name: str) -> Never:
            # Python asks for special names while it copies a set that has no attributes yet.
            model = None if name.startswith("__") else self.__dict__.get("model")
            if model is None:
                raise AttributeError(name)
            if name in model.meta.fields:
                raise UnknownAttribute(_FIELD.format(model=model.__name__, name=name))
            methods = [method for method in dir(type(self)) if not method.startswith("_")]
            raise UnknownAttribute(
                f"a QuerySet has no attribute {name!r}{suggestion(name, methods, 'it has')}"
            )


_FIELD = (
    "this is a set of {model} rows, and {name!r} a field of a row: an operation on a set calls a "
    "local receiver once, with the set as `instance` and None as `model_instance`; connect the "
    "receiver with rows=True to have it called for each row, or look at `model_instance` first"
)


def _described(lookups: Values) -> str:
    return ", ".join(lookups) or "the given conditions"
