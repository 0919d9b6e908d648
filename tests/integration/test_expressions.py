"""Changes that the database computes: nothing is lost, and events hold the result."""

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import case, func, select

import edgy_bus as edgy
from edgy_bus.errors import OperationError
from edgy_bus.models.expressions import Computed
from edgy_bus.outbox.table import outbox
from tests.integration.service import Service
from tests.unit.models import listen


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Shop(Service):
    def __init__(self, database: edgy.Database) -> None:
        super().__init__(database)
        own = self.registry

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=50, default="")
            stock: int = edgy.IntegerField(default=0)
            sold: int = edgy.IntegerField(default=0)
            price: Decimal = edgy.DecimalField(max_digits=8, decimal_places=2, default=0)
            weight: float = edgy.FloatField(default=0.0)
            open: bool = edgy.BooleanField(default=True)
            pin: str = edgy.CharField(max_length=4, default="", secret=True)
            key: SecretStr = edgy.CharField(max_length=4, default="")

            class Meta:
                registry = own

        self.Item: Any = Item

    async def changes(self) -> list[Any]:
        rows = await self.outbox()
        return [row["data"]["changes"] for row in rows if row["signal"] == "post_update"]


@pytest.fixture
async def shop(database: edgy.Database) -> AsyncIterator[Shop]:
    async with Shop(database).running() as shop:
        yield shop


F = edgy.F


async def by_row(shop: Shop) -> None:
    item = await shop.Item.query.get()
    await item.update(stock=F("stock") - 1)


async def by_set(shop: Shop) -> None:
    await shop.Item.query.update(stock=F("stock") - 1)


async def by_column(shop: Shop) -> None:
    item = await shop.Item.query.get()
    await item.update(stock=shop.Item.meta.table.c.stock - 1)


async def by_lock(shop: Shop) -> None:
    async with shop.database.transaction():
        item = await shop.Item.query.for_update().get()
        await item.update(stock=item.stock - 1)


WAYS = [by_row, by_set, by_column, by_lock]


@pytest.mark.parametrize("take", WAYS, ids=lambda way: way.__name__)
async def test_no_change_of_many_tasks_is_lost(
    shop: Shop, take: Callable[[Shop], Awaitable[None]]
) -> None:
    await shop.Item.query.create(stock=20)
    await asyncio.gather(*(take(shop) for _ in range(20)))
    assert (await shop.Item.query.get()).stock == 0
    assert await shop.changes() == [
        {"stock": {"old": left, "new": left - 1}} for left in range(20, 0, -1)
    ]


async def test_the_instance_and_local_receivers_get_the_result(shop: Shop) -> None:
    item = await shop.Item.query.create(stock=20, sold=3)
    calls = listen(shop.Item, "post_update", local=True)
    await item.update(stock=F("stock") - F("sold"), name="a")
    assert (item.stock, item.name) == (17, "a")
    assert calls[0].kwargs["changes"] == {
        "stock": {"old": 20, "new": 17},
        "name": {"old": "", "new": "a"},
    }


async def test_a_receiver_may_put_an_expression_into_the_values_of_a_set(shop: Shop) -> None:
    await shop.Item.query.create(stock=20)

    @edgy.pre_update(shop.Item)
    async def count(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        values["sold"] = F("sold") + 1
        values["name"] = 7 * "x"

    await shop.Item.query.update(stock=F("stock") - 1)
    item = await shop.Item.query.get()
    assert (item.stock, item.sold, item.name) == (19, 1, "xxxxxxx")


async def test_another_number_is_the_same_statement(shop: Shop) -> None:
    item = await shop.Item.query.create(stock=20)
    column = shop.Item.meta.table.c.stock

    async def use(number: int) -> None:
        await item.update(stock=F("stock") + number)
        await item.update(stock=column + number)
        await shop.Item.query.update(stock=F("stock") + number)

    await use(1)
    compiler: Any = shop.database._compiler
    known = [*compiler._by_shape], [*compiler._by_statement]
    for number in range(2, 6):
        await use(number)
    assert {*compiler._by_shape} == {*known[0]}
    assert {*compiler._by_statement} == {*known[1]}
    assert (await shop.Item.query.get()).stock == 20 + 3 * (1 + 2 + 3 + 4 + 5)


RESULTS: list[tuple[str, Computed, Any]] = [
    ("stock", F("stock") / 2, 4),
    ("stock", F("stock") * 1.5, 11),
    ("stock", -F("stock"), -7),
    ("stock", 10 - F("stock") % 4, 7),
    ("stock", (F("stock") + F("sold")) * 2, 20),
    ("price", F("price") * Decimal("1.105"), Decimal("1.11")),
    ("price", F("price") / 3, Decimal("0.33")),
    ("price", F("price") + F("stock"), Decimal("8.00")),
    ("price", F("weight") + 0, Decimal("0.50")),
    ("weight", F("weight") / F("stock") * 7, 0.5),
    ("weight", 1.25 / F("weight"), 2.5),
    ("price", F("price") / F("weight"), Decimal("2.00")),
    ("name", F("name") + "!", "Ada!"),
    ("name", "<" + F("name") + ">" + F("name"), "<Ada>Ada"),
    ("stock", F("pk"), 1),
    ("sold", F("stock"), 7),
]


@pytest.mark.parametrize(("name", "value", "expected"), RESULTS, ids=repr)
async def test_both_databases_compute_the_same_value_of_the_same_type(
    shop: Shop, name: str, value: Computed, expected: Any
) -> None:
    row = {"name": "Ada", "stock": 7, "sold": 3, "price": 1, "weight": 0.5}
    item = await shop.Item.query.create(**row)
    await item.update(**{name: value})
    assert getattr(item, name) == expected
    assert type(getattr(item, name)) is type(expected)
    again = await shop.Item.query.get(**{name: expected})
    assert getattr(again, name) == expected


NUMBERS = st.integers(-50, 50)
FORMULAS = st.recursive(
    NUMBERS | st.sampled_from(["stock", "sold"]),
    lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner),
    max_leaves=4,
)


def made(formula: Any) -> Any:
    """Return a formula as an expression of the database; a number alone stays a number."""
    return calculated(formula, F)


def calculated(formula: Any, field: Callable[[str], Any]) -> Any:
    if isinstance(formula, str):
        return field(formula)
    if isinstance(formula, int):
        return formula
    sign, *parts = formula
    left, right = (calculated(part, field) for part in parts)
    return {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right}[sign]()


def test_any_formula_has_the_value_that_python_computes(database_url: str) -> None:
    async def check(shop: Shop, formula: Any, stock: int, sold: int) -> None:
        row = {"stock": stock, "sold": sold}
        item = await shop.Item.query.create(**row)
        await item.update(stock=made(formula), price=F("price") + made(formula))
        expected = calculated(formula, row.__getitem__)
        assert (item.stock, item.price) == (expected, Decimal(expected).quantize(Decimal("0.01")))
        await item.delete()

    async def whole(runner: asyncio.Runner) -> Shop:
        shop = Shop(edgy.Database(database_url))
        await shop.bus.__aenter__()
        await shop.registry.create_all()
        return shop

    with asyncio.Runner() as runner:
        shop = runner.run(whole(runner))

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(FORMULAS, st.integers(-9, 9), st.integers(-9, 9))
        def compare(formula: Any, stock: int, sold: int) -> None:
            expected = calculated(formula, {"stock": stock, "sold": sold}.__getitem__)
            if abs(expected) < 100_000:
                runner.run(check(shop, formula, stock, sold))

        try:
            compare()
        finally:
            runner.run(shop.bus.__aexit__(None, None, None))


async def test_a_wrong_expression_is_refused_before_anything_happens(shop: Shop) -> None:
    item = await shop.Item.query.create(name="a")
    wrong = [
        ({"stock": F("stcok") - 1}, "did you mean 'stock'"),
        ({"stock": F("name")}, "'stock' is a number and F\\('name'\\) a text"),
        ({"stock": F("open")}, "a Boolean"),
        ({"name": F("name") + 1}, "takes numbers, or texts with"),
        ({"weight": F("weight") % 2}, "takes whole numbers"),
        ({"name": F("pin")}, "uses the secret 'pin'"),
        ({"name": F("key")}, "a pydantic.types.SecretStr"),
        ({"stock": outbox.c.id + 1}, "reads edgy_bus_outbox"),
    ]
    calls = listen(shop.Item, "pre_update")
    for values, message in wrong:
        with pytest.raises(OperationError, match=message):
            await shop.Item.query.update(**values)
        assert calls == []
        with pytest.raises(OperationError, match=message):
            await item.update(**values)
        calls.clear()
        await item.load()
    assert await shop.changes() == []


async def test_long_decimals_are_computed_exactly_or_refused(database: edgy.Database) -> None:
    async with edgy.Registry(database) as own:

        class Account(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            balance: Decimal = edgy.DecimalField(max_digits=20, decimal_places=2)

            class Meta:
                registry = own

        await own.create_all()
        await Account.query.create(balance=Decimal("10.10"))
        stored = Account.meta.table.c.balance.type
        if database.dialect.name == "sqlite" and getattr(stored, "is_text", False):
            with pytest.raises(OperationError, match="SQLite cannot compute with decimals"):
                await Account.query.update(balance=F("balance") + Decimal("0.20"))
            return
        await Account.query.update(balance=F("balance") + Decimal("0.20"))
        assert (await Account.query.get()).balance == Decimal("10.30")


async def test_a_function_of_sqlalchemy_is_a_value(shop: Shop) -> None:
    item = await shop.Item.query.create(name="Ada")
    columns = shop.Item.meta.table.c
    await item.update(name=func.upper(columns.name))
    assert item.name == "ADA"
    # A list becomes as many parameters as it has elements.
    for names, expected in ([["Bob"], 0], [["Bob", "ADA", "Eve"], 1], [["ADA"], 1]):
        found = case((columns.name.in_(names), 1), else_=0)
        await item.update(stock=found)
        await shop.Item.query.update(sold=found)
        again = await shop.Item.query.get()
        assert (item.stock, again.stock, again.sold) == (expected, expected, expected)
    count = select(func.count()).select_from(shop.Item.meta.table).scalar_subquery()
    await item.update(stock=count + 1)
    assert item.stock == 2


# Locks


async def test_a_lock_needs_a_transaction(shop: Shop) -> None:
    await shop.Item.query.create()
    locked = shop.Item.query.for_update()
    for read in (locked.all, locked.get, locked.first, locked.last, locked.values):
        with pytest.raises(OperationError, match=r"inside `async with database.transaction\(\):`"):
            await read()
    # Nothing is locked.
    assert (await locked.count(), await locked.exists()) == (1, True)
    with pytest.raises(OperationError, match="nowait or skip_locked, not both"):
        shop.Item.query.for_update(nowait=True, skip_locked=True)


async def test_locked_rows_are_read_as_all_others(shop: Shop) -> None:
    await shop.Item.query.bulk_create({"stock": number % 3} for number in range(6))
    query = shop.Item.query
    reads: list[Callable[[Any], Awaitable[Any]]] = [
        lambda rows: rows.all(),
        lambda rows: rows.order_by("-stock", "pk").all(),
        lambda rows: rows.order_by("-stock", "pk").limit(2).offset(1).all(),
        lambda rows: rows.filter(stock=1).values("pk", "stock"),
        lambda rows: rows.order_by("-stock", "-pk").values_list("stock", flat=True),
        lambda rows: rows.last(stock=2),
        lambda rows: rows.get(pk=3),
    ]
    for read in reads:
        async with shop.database.transaction():
            assert await read(query.for_update()) == await read(query)
    async with shop.database.transaction():
        assert len([item async for item in query.for_update()]) == 6


async def test_locked_rows_can_be_left_out_or_refused(postgres_url: str) -> None:
    shop = Shop(edgy.Database(postgres_url))
    async with shop.bus:
        await shop.registry.create_all()
        await shop.Item.query.bulk_create([{}, {}, {}])
        locked, done = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with shop.database.transaction():
                await shop.Item.query.for_update().order_by("pk").first()
                locked.set()
                await done.wait()

        holder = asyncio.create_task(hold())
        await locked.wait()
        async with shop.database.transaction():
            query = shop.Item.query.for_update(skip_locked=True)
            assert [item.pk for item in await query] == [2, 3]
            assert [item.pk for item in await query.order_by("-pk")] == [3, 2]
            assert (await query.order_by("pk").first()).pk == 2
        with pytest.raises(edgy.DatabaseError):
            async with shop.database.transaction():
                await shop.Item.query.for_update(nowait=True)
        done.set()
        await holder


async def test_locks_in_opposite_orders_wait_for_each_other(postgres_url: str) -> None:
    shop = Shop(edgy.Database(postgres_url))
    async with shop.bus:
        await shop.registry.create_all()
        await shop.Item.query.bulk_create({"sold": number} for number in range(50))

        async def count(order: str) -> None:
            for _ in range(5):
                async with shop.database.transaction():
                    items = await shop.Item.query.order_by(order).for_update()
                    for item in items:
                        item.stock += 1
                    await shop.Item.query.bulk_update(items, ["stock"])

        await asyncio.gather(*(count(order) for order in ("pk", "-pk", "sold", "-sold")))
        assert set(await shop.Item.query.values_list("stock", flat=True)) == {20}


async def test_a_field_does_not_take_the_values_of_another_type(database: edgy.Database) -> None:
    own = edgy.Registry(database)

    class Page(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        color: Color = edgy.CharField(max_length=50, default=Color.RED)
        other: Color = edgy.CharField(max_length=50, default=Color.GREEN)
        address: pydantic.HttpUrl = edgy.CharField(max_length=50, default="https://example.org/")

        class Meta:
            registry = own

    await own.create_all()
    page = await Page.query.create()
    with pytest.raises(OperationError, match=r"'color' is a .*Color and .* a .*HttpUrl"):
        await page.update(color=F("address"))
    with pytest.raises(OperationError, match=r"'color' is a .*Color and .* a .*HttpUrl"):
        await Page.query.update(color=F("address"))
    await page.update(color=F("other"))
    assert page.color is Color.GREEN
