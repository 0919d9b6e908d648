"""Creating and changing many rows at once, and finding or creating a row, on both databases."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.errors import IntegrityError, OperationError, SkipOperation
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import writes
from tests.integration.service import Service


class Shop(Service):
    def __init__(self, database: edgy.Database) -> None:
        super().__init__(database)
        own = self.registry

        class Owner(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = own

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=50, unique=True)
            stock: int = edgy.IntegerField(default=0)
            owner: int | None = edgy.ForeignKey(Owner, null=True)

            class Meta:
                registry = own

        self.Owner: Any = Owner
        self.Item: Any = Item

    async def events(self) -> list[tuple[str, str, Any]]:
        return [
            (row["signal"], row["subject"], row["data"]["instance"])
            for row in await self.outbox()
            if row["model"] == "shop.Item"
        ]


@pytest.fixture
async def shop(database: edgy.Database) -> AsyncIterator[Shop]:
    async with Shop(database).running() as shop:
        yield shop


# bulk_create


def test_rows_are_answered_in_the_order_given_and_the_instances_know_their_keys(
    database_url: str,
) -> None:
    entries = st.lists(
        st.tuples(st.none() | st.integers(1_000, 1_020), st.booleans()), max_size=12
    ).filter(lambda rows: len({key for key, _ in rows if key}) == sum(bool(key) for key, _ in rows))

    async def check(shop: Shop, rows: list[tuple[int | None, bool]]) -> None:
        await shop.Item.query.delete()
        await shop.database.run(outbox.delete())
        names = [f"n{number}" for number in range(len(rows))]
        random.shuffle(names)
        values: list[dict[str, Any]] = [
            {"name": name} if key is None else {"name": name, "id": key}
            for name, (key, _) in zip(names, rows, strict=True)
        ]
        # Some rows as instances, some as dicts.
        passed = [
            shop.Item(**row) if is_instance else row
            for row, (_, is_instance) in zip(values, rows, strict=True)
        ]
        created = await shop.Item.query.bulk_create(passed)
        assert [item.name for item in created] == names
        for item, row, entry in zip(created, values, passed, strict=True):
            assert item.pk == row.get("id", item.pk)
            assert item is entry or isinstance(entry, dict)
        stored = await shop.Item.query.all()
        assert {item.pk: item.name for item in stored} == {item.pk: item.name for item in created}
        made = [item.pk for item in created if item.pk < 1_000 or item.pk > 1_020]
        assert made == sorted(made)
        events = await shop.events()
        assert sorted((signal, int(key)) for signal, key, _ in events) == sorted(
            ("post_save", item.pk) for item in created
        )
        assert all(int(key) == instance["id"] for _, key, instance in events)
        for item in created:
            await item.update(stock=1)

    async def opened() -> Shop:
        shop = Shop(edgy.Database(database_url))
        await shop.bus.__aenter__()
        await shop.registry.create_all()
        return shop

    with asyncio.Runner() as runner:
        shop = runner.run(opened())

        @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(entries)
        def create(rows: list[tuple[int | None, bool]]) -> None:
            runner.run(check(shop, rows))

        try:
            create()
        finally:
            runner.run(shop.bus.__aexit__(None, None, None))


async def test_receivers_may_change_the_values_of_many_new_rows(shop: Shop) -> None:
    @edgy.pre_save(shop.Item)
    async def count(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        for number, row in enumerate(values):
            row["stock"] = number

    items = [shop.Item(name="a", stock=7), shop.Item(name="b", stock=7)]
    assert await shop.Item.query.bulk_create(items) == items
    assert [item.stock for item in items] == [0, 1]
    assert await shop.Item.query.order_by("name").values_list("stock", flat=True) == [0, 1]


async def test_receivers_may_not_add_or_remove_rows(shop: Shop) -> None:
    item = await shop.Item.query.create(name="a")

    @edgy.pre_save(shop.Item)
    async def remove(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        values.pop()

    @edgy.pre_update(shop.Item)
    async def add(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        values.append({"stock": 1})

    with pytest.raises(OperationError, match="a receiver left 1 values for 2 rows of Item"):
        await shop.Item.query.bulk_create([{"name": "b"}, {"name": "c"}])
    with pytest.raises(OperationError, match="a receiver left 2 values for 1 rows of Item"):
        await shop.Item.query.bulk_update([item], ["stock"])
    assert await shop.Item.query.count() == 1


async def test_bulk_create_takes_keys_by_either_name_and_instances_as_keys(shop: Shop) -> None:
    owner = await shop.Owner.query.create()
    await shop.Item.query.bulk_create(
        [{"pk": 5, "name": "a", "owner": owner}, {"id": 6, "name": "b"}]
    )
    assert await shop.Item.query.order_by("pk").values_list(["pk", "owner"]) == [
        (5, owner.pk),
        (6, None),
    ]
    with pytest.raises(OperationError, match="are the same field"):
        await shop.Item.query.create(pk=7, id=7, name="c")
    with pytest.raises(OperationError, match="takes instances of Item and dicts, not a int"):
        await shop.Item.query.bulk_create([7])


async def test_an_instance_is_one_row(shop: Shop) -> None:
    owner = shop.Owner()
    with pytest.raises(OperationError, match="an instance of Owner was given twice"):
        await shop.Owner.query.bulk_create([owner, {}, owner])
    assert await shop.Owner.query.count() == 0
    # Equal instances are two rows.
    assert len(await shop.Owner.query.bulk_create([owner, shop.Owner()])) == 2


async def test_a_key_that_is_given_is_made_for_no_other_row(shop: Shop) -> None:
    await shop.Item.query.create(id=1_000, name="a")
    # SQLite makes the next key, which a later row has.
    rows = [{"name": "b"}, {"name": "c", "id": 1_001}, {"name": "d"}]
    items = await shop.Item.query.bulk_create(rows)
    assert [item.name for item in items] == ["b", "c", "d"]
    assert items[1].pk == 1_001
    assert items[0].pk < items[2].pk


async def test_rows_of_keys_alone(shop: Shop) -> None:
    created = await shop.Owner.query.bulk_create([{}, {}, {"pk": 77}, {}])
    assert created[2].pk == 77
    assert len({owner.pk for owner in created}) == 4 == await shop.Owner.query.count()


async def test_bulk_operations_in_opposite_orders_wait_for_each_other(shop: Shop) -> None:
    keys = list(range(1, 1_101))
    items = await shop.Item.query.bulk_create({"pk": key, "name": f"i{key}"} for key in keys)

    async def change(number: int) -> None:
        mine = random.sample(items, len(items))
        await shop.Item.query.bulk_update([item.model_copy() for item in mine], ["stock"])

    async def create_same(number: int) -> bool:
        rows = [{"pk": key + 5_000, "name": f"i{key + 5_000}"} for key in keys]
        random.shuffle(rows)
        try:
            await shop.Item.query.bulk_create(rows)
        except IntegrityError:
            return False
        return True

    await asyncio.gather(*(change(number) for number in range(4)))
    assert sum(await asyncio.gather(*(create_same(number) for number in range(4)))) == 1


@pytest.mark.parametrize("column", ["BIGSERIAL", "identity", "identity always", "function"])
async def test_the_same_unique_values_in_opposite_orders_wait_for_each_other(
    postgres_url: str, column: str
) -> None:
    """Where the keys cannot be drawn, the loser of a deadlock is asked to try again."""
    async with (
        edgy.Database(postgres_url, max_size=6) as database,
        Shop(database).running() as shop,
    ):
        await make_key(database, shop.Item.meta.table.name, column)
        names = [f"n{number:04}" for number in range(400)]

        async def create() -> list[int]:
            mine = random.sample(names, len(names))
            created = await shop.Item.query.bulk_create({"name": name} for name in mine)
            assert [item.name for item in created] == mine
            return [item.pk for item in created]

        for _ in range(3):
            results = await asyncio.gather(*(create() for _ in range(4)), return_exceptions=True)
            [keys] = [result for result in results if isinstance(result, list)]
            assert keys == sorted(keys), "in the order given"
            await shop.Item.query.filter(name__in=names).delete()
            errors = {type(result) for result in results if isinstance(result, Exception)}
            can_be_drawn = column in ("BIGSERIAL", "identity")
            assert errors <= ({IntegrityError} if can_be_drawn else {IntegrityError, edgy.TryAgain})


async def make_key(database: edgy.Database, table: str, column: str) -> None:
    """Let the keys of items come from another place, as an operator's migration may have it."""
    if column == "BIGSERIAL":
        return
    await database.script(
        f"ALTER TABLE {table} ALTER id DROP DEFAULT; DROP SEQUENCE {table}_id_seq"
    )
    if column.startswith("identity"):
        kind = "ALWAYS" if column == "identity always" else "BY DEFAULT"
        await database.script(f"ALTER TABLE {table} ALTER id ADD GENERATED {kind} AS IDENTITY")
        return
    await database.script(
        f"""
        CREATE SEQUENCE drawn;
        CREATE FUNCTION next_id() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('drawn') * 2 $$;
        ALTER TABLE {table} ALTER id SET DEFAULT next_id();
        """
    )


async def test_rows_with_unique_values_keep_the_order_given(shop: Shop) -> None:
    names = random.sample([f"n{number}" for number in range(700)], 700)
    created = await shop.Item.query.bulk_create(
        {"name": name} | ({"pk": 10_000 + at} if at % 7 == 0 else {})
        for at, name in enumerate(names)
    )
    assert [item.name for item in created] == names
    assert [item.pk for item in created[::7]] == list(range(10_000, 10_700, 7))
    generated = [item.pk for at, item in enumerate(created) if at % 7]
    assert generated == sorted(generated)
    rows = {row["id"]: row["name"] for row in await shop.Item.query.values("id", "name")}
    assert rows == {item.pk: item.name for item in created}


def declare_wide(own: edgy.Registry) -> Any:
    fields: dict[str, Any] = {"id": edgy.BigIntegerField(primary_key=True)}
    fields |= {f"f{number}": edgy.IntegerField(default=0) for number in range(130)}
    # pydantic recognises a class inside of the class by its name.
    meta = type("Meta", (), {"registry": own, "__qualname__": "Wide.Meta"})
    annotations = dict.fromkeys(fields, int)
    names = {"__module__": __name__, "__qualname__": "Wide", "__annotations__": annotations}
    return type("Wide", (edgy.Model,), {**names, **fields, "Meta": meta})


async def test_rows_of_many_columns(shop: Shop) -> None:
    wide = declare_wide(shop.registry)
    await shop.registry.create_all()
    rows = await wide.query.bulk_create({"f0": number} for number in range(300))
    assert [row.f0 for row in rows] == list(range(300))
    assert await wide.query.update(f1=edgy.F("f0") + 1) == 300
    await rows[7].update(f2=edgy.F("f0"))
    assert await wide.query.filter(f0=7).values_list("f1", "f2") == [(8, 7)]
    assert await wide.query.bulk_update(rows[:50], wide.meta.fields.keys() - {"id"}) == 50
    assert await wide.query.delete() == 300
    stored = (await shop.database.run(select(outbox.c.signal))).rows
    assert len(stored) == 300 + 300 + 1 + 50 + 300


# bulk_update


async def test_bulk_update_refuses_what_it_cannot_write(shop: Shop) -> None:
    item, other = await shop.Item.query.bulk_create([{"name": "a"}, {"name": "b"}])
    owner = await shop.Owner.query.create()
    moved = other.model_copy(update={"id": 9})
    wrong: list[tuple[Any, Any, str]] = [
        ([item], ["stcok"], "has no field 'stcok'"),
        ([item], ["id"], "the primary key 'id' cannot be changed"),
        ([item], ["pk"], "the primary key 'pk' cannot be changed"),
        ([item, shop.Item(name="c")], ["stock"], "never saved"),
        ([item, owner], ["stock"], "cannot update a Owner as a Item"),
        ([moved], ["stock"], "of this Item was changed"),
    ]
    for instances, fields, message in wrong:
        item.stock = 5
        with pytest.raises(OperationError, match=message):
            await shop.Item.query.bulk_update(instances, fields)
    assert await shop.Item.query.exists(stock=5) is False


async def test_bulk_update_takes_one_name_and_the_changes_of_receivers(shop: Shop) -> None:
    items = await shop.Item.query.bulk_create([{"name": "a"}, {"name": "b"}])

    @edgy.pre_update(shop.Item)
    async def rename(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        for row in values:
            row["name"] = f"{row['stock']}!"

    for number, item in enumerate(items):
        item.stock = number
    assert await shop.Item.query.bulk_update(items, "stock") == 2
    assert [(item.name, item.stock) for item in items] == [("0!", 0), ("1!", 1)]
    assert await shop.Item.query.order_by("pk").values_list("name", "stock") == [
        ("0!", 0),
        ("1!", 1),
    ]


# get_or_create and update_or_create


async def test_a_new_row_takes_the_plain_lookups(shop: Shop) -> None:
    owner = await shop.Owner.query.create()
    query = shop.Item.query
    for defaults, lookups, expected in [
        ({"name": "a"}, {"pk": 5}, (5, "a", 0, None)),
        ({"stock": lambda: 3}, {"name__exact": "b", "pk": 6}, (6, "b", 3, None)),
        ({"name": "c"}, {"name__iexact": "C", "pk": 7}, (7, "c", 0, None)),
        ({"name": "d"}, {"owner": owner, "pk": 8, "stock": 1}, (8, "d", 1, owner.pk)),
    ]:
        for call in (query.get_or_create, query.update_or_create):
            item, created = await call(defaults, **lookups)
            assert created is (call == query.get_or_create)
            assert (item.pk, item.name, item.stock, item.owner) == expected
    item, created = await query.get_or_create({"name": "f", "pk": 10}, name__iexact="F")
    assert (created, item.pk) == (True, 10)
    item, created = await query.update_or_create({"name": "x"}, {"name": "e"}, pk=9)
    assert (created, item.name) == (True, "e")
    item, created = await query.update_or_create({"stock": edgy.F("stock") + 1}, {}, pk=9)
    assert (created, item.stock) == (False, 1)


async def test_a_creation_that_a_receiver_skips_is_no_creation(shop: Shop) -> None:
    @edgy.pre_save(shop.Item)
    async def skip(sender: Any, instance: Any, **kwargs: Any) -> None:
        raise SkipOperation

    for call in (shop.Item.query.get_or_create, shop.Item.query.update_or_create):
        item, created = await call({"stock": 1}, name="a")
        assert (created, item.pk, item.name) == (False, None, "a")
    assert await shop.Item.query.count() == 0


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_the_error_of_a_local_receiver_is_not_taken_for_another_tasks_row(
    shop: Shop, in_transaction: bool
) -> None:
    await shop.Item.query.create(name="taken")

    @edgy.post_save(shop.Item, local=True)
    async def fail(sender: Any, instance: Any, **kwargs: Any) -> None:
        if instance.name == "a":
            await shop.Item.query.create(name="taken")

    async def call() -> None:
        with pytest.raises(IntegrityError):
            await shop.Item.query.get_or_create(name="a")

    if not in_transaction:
        await call()
        # As for create(): the receiver runs after the commit.
        assert await shop.Item.query.exists(name="a")
        return
    async with shop.database.transaction():
        await call()
        # The savepoint of the creation is undone, and the transaction goes on.
        await shop.Item.query.create(name="b")
    assert await shop.Item.query.order_by("pk").values_list("name", flat=True) == ["taken", "b"]


async def test_a_misspelt_default_is_refused_whether_there_is_a_row_or_not(shop: Shop) -> None:
    for name in ("there", "not there"):
        await shop.Item.query.get_or_create(name="there")
        for call, defaults in [
            (shop.Item.query.get_or_create, [{"stokc": 1}]),
            (shop.Item.query.update_or_create, [{"stokc": 1}]),
            (shop.Item.query.update_or_create, [{"stokc": 1}, {"stock": 1}]),
            (shop.Item.query.update_or_create, [{"stock": 1}, {"stokc": 1}]),
        ]:
            with pytest.raises(OperationError, match="did you mean 'stock'"):
                await call(*defaults, name=name)


async def test_defaults_may_have_the_names_of_aliases(database: edgy.Database) -> None:
    own = edgy.Registry(database)

    class Item(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=9, alias="itemName")
        size: int = edgy.IntegerField(
            default=0, validation_alias=pydantic.AliasChoices("Size", pydantic.AliasPath("box", 0))
        )

        class Meta:
            registry = own

    await own.create_all()
    for _ in range(2):
        item, _ = await Item.query.get_or_create({"itemName": "a", "Size": 4}, pk=1)
        assert (item.name, item.size) == ("a", 4)
        item, _ = await Item.query.get_or_create({"name": "b", "box": [5]}, pk=2)
        assert (item.name, item.size) == ("b", 5)


async def test_another_tasks_row_is_found_inside_a_transaction_too(postgres_url: str) -> None:
    shop = Shop(edgy.Database(postgres_url))
    async with shop.bus:
        await shop.registry.create_all()

        async def create() -> tuple[int, bool]:
            async with shop.database.transaction():
                item, created = await shop.Item.query.get_or_create({"stock": 1}, name="a")
                await item.update(stock=edgy.F("stock") + 1)
            return item.pk, created

        answers = await asyncio.gather(*(create() for _ in range(8)))
        assert len({key for key, _ in answers}) == 1
        assert sum(created for _, created in answers) == 1
        assert (await shop.Item.query.get()).stock == 9


# Triggers that refuse


REFUSING = {
    "sqlite": "CREATE TRIGGER keep BEFORE {event} ON {table} WHEN OLD.{column} = {value} "
    "BEGIN SELECT RAISE(IGNORE); END;",
    "postgresql": "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RETURN NULL; END $$; "
    "CREATE TRIGGER keep BEFORE {event} ON {table} FOR EACH ROW "
    "WHEN (OLD.{column} = {value}) EXECUTE FUNCTION refuse();",
}


@pytest.mark.parametrize("operation", ["DELETE", "UPDATE"])
async def test_rows_that_a_trigger_refuses_are_neither_counted_nor_told(
    shop: Shop, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "PAGE", 2)
    await shop.Item.query.bulk_create(
        {"name": f"i{number}", "stock": number} for number in range(5)
    )
    await shop.database.run(outbox.delete())
    script = REFUSING[shop.database.dialect.name]
    await shop.database.script(
        script.format(event=operation, table="items", column="stock", value=2)
    )
    if operation == "DELETE":
        assert await shop.Item.query.delete() == 4
        assert await shop.Item.query.values_list("stock", flat=True) == [2]
    else:
        assert await shop.Item.query.update(stock=9) == 4
        assert await shop.Item.query.order_by("pk").values_list("stock", flat=True) == [
            *(9, 9, 2, 9, 9)
        ]
    assert [int(key) for _, key, _ in await shop.events()] == [1, 2, 4, 5]


async def test_a_tree_of_which_a_trigger_keeps_a_row_is_not_deleted_at_all(
    database: edgy.Database,
) -> None:
    bus = edgy.Bus("memory://", service="forest", relay=False)
    own = edgy.Registry(database, bus=bus)

    class Tree(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        parent: int | None = edgy.ForeignKey("self", null=True)

        class Meta:
            registry = own

    async with bus:
        await own.create_all()
        await Tree.query.bulk_create([{"id": 1}, {"id": 2, "parent": 1}, {"id": 3}])
        await database.run(outbox.delete())
        script = REFUSING[database.dialect.name]
        await database.script(script.format(event="DELETE", table="trees", column="id", value=3))
        with pytest.raises(edgy.DatabaseError, match="a trigger refused"):
            await Tree.query.delete()
        assert await Tree.query.count() == 3
        assert (await database.run(select(outbox))).rows == []


# Sets of any size


async def test_a_trigger_that_inserts_matching_rows_does_not_make_an_update_endless(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "PAGE", 2)
    await shop.Item.query.bulk_create({"name": f"i{number}"} for number in range(5))
    if shop.database.dialect.name == "sqlite":
        script = (
            "CREATE TRIGGER copy AFTER UPDATE ON items BEGIN "
            "INSERT INTO items (name, stock) VALUES (NEW.name || '+' || NEW.id, 0); END;"
        )
    else:
        script = (
            "CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO items (name, stock) VALUES (NEW.name || '+' || NEW.id, 0); "
            "RETURN NULL; END $$; CREATE TRIGGER copy AFTER UPDATE ON items FOR EACH ROW "
            "EXECUTE FUNCTION copy();"
        )
    await shop.database.script(script)
    assert await asyncio.wait_for(shop.Item.query.filter(stock=0).update(stock=1), 30) == 5
    assert await shop.Item.query.count(stock=0) == 5


async def test_an_update_to_nothing_does_nothing(shop: Shop) -> None:
    item = await shop.Item.query.create(name="a")
    owner = await shop.Owner.query.create()
    await shop.database.run(outbox.delete())
    assert await shop.Item.query.update() == 0
    assert await shop.events() == []

    @edgy.pre_update(shop.Item)
    async def clear(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        values.clear()

    assert await shop.Item.query.update(stock=2) == 0
    assert await shop.Item.query.update(stock=2, expand=False) == 0
    assert await shop.events() == []
    await owner.save()
    await item.load()
    assert item.stock == 0


async def test_keys_come_into_memory_only_for_receivers(shop: Shop) -> None:
    await shop.Item.query.bulk_create({"name": f"i{number}"} for number in range(5))
    writer: Any = shop.registry.writer
    written: list[Any] = []
    write = writer.write

    async def noted(description: Any) -> Any:
        written.append(await write(description))
        return written[-1]

    writer.write = noted
    assert await shop.Item.query.update(stock=1) == 5
    with pytest.raises(LookupError):
        list(written[-1])

    @edgy.post_update(shop.Item, local=True)
    async def hear(sender: Any, instance: Any, keys: Any, **kwargs: Any) -> None:
        assert keys == [1, 2, 3, 4, 5]

    assert await shop.Item.query.update(stock=2) == 5
    assert [change.key for change in written[-1]] == [1, 2, 3, 4, 5]
