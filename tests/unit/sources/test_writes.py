"""Descriptions of writes and their executions, on SQLite; `tests/integration` has PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgy_bus import models as edgy
from edgy_bus.models import queryset
from edgy_bus.sources import ChangeSet, DeleteRow, InsertRows, RowChange, UpdateRows, writes
from edgy_bus.sources.statements import key_columns
from tests.unit.models import declare_user, listen, tables


class Desk:
    """A model in a SQLite file, whose statements are counted."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.meta = model.meta
        self.database: Any = model.meta.registry.database
        self.statements = 0
        self._run = self.database.run
        self.database.run = self._counted

    async def _counted(self, *arguments: Any) -> Any:
        self.statements += 1
        return await self._run(*arguments)

    async def fill(self, *names: str) -> None:
        rows = [{"name": name, "email": f"{name}@example.org"} for name in names]
        await self.model.query.bulk_create(rows)
        self.statements = 0

    async def pages(self, write: Any) -> list[list[RowChange]]:
        async with self.database.transaction():
            return [page async for page in write.pages(self.database)]


@pytest.fixture
async def desk(sqlite_url: str) -> AsyncIterator[Desk]:
    async with tables(sqlite_url, declare_user) as model:
        yield Desk(model)


def insertion(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "email": f"{name}@example.org",
        "is_verified": False,
        "settings": {},
        "password": "",
    }


@pytest.mark.parametrize(
    ("rows", "columns", "sizes"),
    [
        (1_126, 5, [500, 500, 100, 20, 5, 1]),
        (499, 5, [100] * 4 + [20] * 4 + [5] * 3 + [1] * 4),
        (400, 100, [20] * 20),
        (3, 6_000, [1, 1, 1]),
        (3, 0, [1, 1, 1]),
        (0, 5, []),
    ],
)
def test_inserts_have_few_sizes_and_a_bounded_number_of_parameters(
    rows: int, columns: int, sizes: list[int]
) -> None:
    parts: Any = list(writes._in_sizes(list(range(rows)), columns))  # type: ignore[arg-type]
    assert [len(part) for part in parts] == sizes
    assert [row for part in parts for row in part] == list(range(rows))


async def test_rows_with_keys_are_inserted_in_the_order_of_unique_values(desk: Desk) -> None:
    rows = [{"id": key, **insertion(f"n{key}")} for key in (30, 4, 200)]
    changes = await InsertRows(desk.meta, "post_save", rows).run(desk.database)
    assert [change.key for change in changes] == [200, 30, 4], "of n200, n30 and n4"
    assert [change.is_update for change in changes] == [False] * 3


async def test_rows_are_inserted_in_the_order_of_unique_json(sqlite_url: str) -> None:
    def declare(own: edgy.Registry) -> Any:
        class Rule(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            terms: Any = edgy.JSONField(unique=True, null=True)

            class Meta:
                registry = own

        return Rule

    terms = [{"b": 1, "a": 2}, [2], {"a": 2}, "text", None, [1], 7, {"a": 2, "b": 3}, True]
    swapped = [dict(reversed(each.items())) if type(each) is dict else each for each in terms]
    async with tables(sqlite_url, declare) as model:
        orders = []
        for given in (terms, swapped[::-1]):
            rows = [{"id": key, "terms": each} for key, each in enumerate(given)]
            write = InsertRows(model.meta, "post_save", rows)
            changes = await write.run(model.meta.registry.database)
            orders.append([change.row["terms"] for change in changes])
            await model.query.delete()
        assert orders[0] == orders[1], "two programs insert the same values in the same order"
        assert len(orders[0]) == len(terms)


async def test_rows_with_drawn_keys_are_inserted_among_rows_whose_keys_were_given(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declare(own: edgy.Registry) -> Any:
        class Seat(edgy.Model):
            code: str = edgy.CharField(max_length=5, unique=True)
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = own

        return Seat

    async def draw(_: object, __: object, count: int) -> list[int]:
        return list(range(1, count + 1))

    monkeypatch.setattr(queryset, "draw_keys", draw)
    inserted: list[str] = []

    async with tables(sqlite_url, declare) as model:
        insert = InsertRows._insert

        async def watched(self: InsertRows, database: Any, rows: Any) -> Any:
            inserted.extend(row["code"] for row in rows)
            return await insert(self, database, rows)

        monkeypatch.setattr(InsertRows, "_insert", watched)
        rows = [{"code": "c"}, {"code": "b", "id": 70}, {"code": "a"}, {"code": "d", "id": 60}]
        await model.query.bulk_create(rows)
    assert inserted == ["a", "b", "c", "d"]


async def test_rows_of_keys_alone_can_be_inserted(sqlite_url: str) -> None:
    def declare(own: edgy.Registry) -> Any:
        class Tick(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = own

        return Tick

    async with tables(sqlite_url, declare) as model:
        assert [row.pk for row in await model.query.bulk_create([{}, {}, {}])] == [1, 2, 3]


async def test_old_values_are_those_of_the_database_and_not_of_the_instance(desk: Desk) -> None:
    await desk.fill("a")
    updates = [(1, {"name": "b", "password": "secret"})]
    write = UpdateRows(desk.meta, "post_update", updates, exclusive=False)
    [[change]] = await desk.pages(write)
    assert change.old == {"id": 1, "name": "a"}, "secret values are not read"
    assert change.assigned == ("name", "password")
    assert change.row["password"] == "secret"


async def test_a_row_that_is_updated_twice_in_one_write_changes_twice(desk: Desk) -> None:
    await desk.fill("a", "b")
    updates = [(2, {"age": 1}), (1, {"age": 2}), (2, {"age": 3}), (9, {"age": 4})]
    [changes] = await desk.pages(UpdateRows(desk.meta, "post_update", updates, exclusive=False))
    seen = [(change.key, (change.old or {})["age"], change.row["age"]) for change in changes]
    assert seen == [(1, None, 2), (2, None, 1), (2, 1, 3)]


async def test_many_rows_are_updated_page_by_page(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "PAGE", 2)
    await desk.fill("a", "b", "c")
    updates = [(key, {"age": key}) for key in (3, 1, 2)]
    pages = await desk.pages(UpdateRows(desk.meta, "post_update", updates, exclusive=False))
    assert [len(page) for page in pages] == [2, 1]


async def test_an_update_that_nobody_listens_to_is_one_statement(desk: Desk) -> None:
    await desk.fill("a")
    user = await desk.model.query.get(pk=1)
    desk.statements = 0
    await user.update(name="b")
    assert desk.statements == 1
    calls = listen(desk.model, "post_update")
    await desk.model.query.update(age=3)
    await user.update(age=4)
    assert calls[-1].kwargs["changes"] == {"age": {"old": 3, "new": 4}}


async def test_the_result_of_a_set_contains_keys_only(desk: Desk) -> None:
    await desk.fill("a", "b")
    write = ChangeSet(desk.meta, "post_update", (), {"age": 3, "password": "secret"})
    changes = await write.run(desk.database)
    assert changes == [RowChange(1, {}), RowChange(2, {})]
    [page] = await desk.pages(write)
    assert [(change.row["age"], change.old) for change in page] == [
        (3, {"id": 1, "age": 3}),
        (3, {"id": 2, "age": 3}),
    ]
    assert write.kept(page) == changes


async def test_a_deleted_row_is_reported_as_it_was(desk: Desk) -> None:
    await desk.fill("a")
    [change] = await DeleteRow(desk.meta, "post_delete", 1).run(desk.database)
    assert (change.key, change.row["name"], change.is_update) == (1, "a", False)
    assert await DeleteRow(desk.meta, "post_delete", 1).run(desk.database) == []


def test_keys_are_the_columns_of_unique_indexes() -> None:
    own = edgy.Registry("sqlite:///nowhere.sqlite")

    class Seat(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        code: str = edgy.CharField(max_length=5, unique=True)
        badge: str = edgy.CharField(max_length=5, unique=True, index=True)
        row: int = edgy.IntegerField()
        number: int = edgy.IntegerField()
        note: str = edgy.CharField(max_length=5, index=True)

        class Meta:
            registry = own
            unique_together = (("row", "number"),)

    assert key_columns(Seat.meta.table) == {"id", "code", "badge", "row", "number"}
