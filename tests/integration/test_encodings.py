"""Two encoders, one JSON: the event that PostgreSQL writes equals the event that Python makes.

The comparison covers all field types, for `instance` and for `changes`. The row is read back from
the database in between, so both encoders start from the same stored values.
"""

import asyncio
import datetime as dt
import enum
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import pydantic
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.database.compiling import is_harmless
from edgy_bus.outbox.encoding import EventEncoder
from edgy_bus.outbox.single_statement import EventKind, with_event
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import EventSettings
from edgy_bus.sources import RowChange, UpdateRows
from edgy_bus.sources.changes import differ


class Settings(pydantic.BaseModel):
    theme: str
    words: frozenset[str]
    since: dt.date | None = None


class Color(enum.Enum):
    RED = "red"
    GREEN = "g'r\"n"


def declare(own: edgy.Registry) -> Any:
    class Everything(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        number: int = edgy.IntegerField()
        big: int | None = edgy.BigIntegerField(null=True)
        char: str = edgy.CharField(max_length=100)
        text: str | None = edgy.TextField(null=True)
        email: str | None = edgy.EmailField(null=True)
        flag: bool | None = edgy.BooleanField(null=True)
        ratio: float | None = edgy.FloatField(null=True)
        price: Decimal | None = edgy.DecimalField(max_digits=12, decimal_places=3, null=True)
        tiny: Decimal | None = edgy.DecimalField(max_digits=20, decimal_places=10, null=True)
        day: dt.date | None = edgy.DateField(null=True)
        clock: dt.time | None = edgy.TimeField(null=True)
        moment: dt.datetime | None = edgy.DateTimeField(null=True)
        token: uuid.UUID | None = edgy.UUIDField(null=True)
        document: Any = edgy.JSONField(null=True)
        blob: bytes | None = edgy.BinaryField(null=True)
        color: Color | None = edgy.ChoiceField(Color, null=True)
        size: str | None = edgy.ChoiceField(["S", "M"], null=True)
        wait: dt.timedelta | None = edgy.DurationField(null=True)
        site: pydantic.HttpUrl | None = edgy.CharField(max_length=100, null=True)
        settings: Settings | None = edgy.JSONField(null=True)
        prices: list[Decimal] = edgy.JSONField(default=list)
        parent: int | None = edgy.ForeignKey("self", null=True)
        secret: str = edgy.CharField(max_length=20, secret=True, default="")

        class Meta:
            registry = own

    return Everything


LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
WHOLE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | REAL | st.text(LETTERS, max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(LETTERS, max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
ZONES = st.timezones() | st.just(dt.UTC)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "number": st.integers(-(2**31), 2**31 - 1),
    "big": st.none() | WHOLE,
    "char": st.text(LETTERS, max_size=100),
    "text": st.none() | st.text(LETTERS),
    "email": st.sampled_from([None, "ada@example.org", "ä'\"@exämple.org"]),
    "flag": st.none() | st.booleans(),
    "ratio": st.none() | REAL,
    "price": st.none() | st.decimals(-999_999_999, 999_999_999, places=3),
    "tiny": st.none() | st.decimals(-999_999_999, 999_999_999, places=10),
    "day": st.none() | st.dates(),
    "clock": st.none() | st.times(),
    "moment": st.none()
    | st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=ZONES),
    "token": st.none() | st.uuids(),
    "document": JSON,
    "blob": st.none() | st.binary(max_size=100),
    "color": st.none() | st.sampled_from(Color),
    "size": st.sampled_from([None, "S", "M"]),
    "wait": st.none() | st.timedeltas(dt.timedelta(days=-99_420), dt.timedelta(days=99_420)),
    "site": st.sampled_from([None, "https://example.org", "http://b.example/?c=%20#d"]),
    "settings": st.none()
    | st.builds(
        Settings, theme=st.text(LETTERS), words=st.frozensets(st.text(LETTERS)), since=st.dates()
    ),
    "prices": st.lists(st.decimals(-999, 999, places=2), max_size=3),
    "parent": st.sampled_from([None, 1]),
    "secret": st.text(LETTERS, max_size=20),
}
ROWS = st.fixed_dictionaries(FIELDS)
UPDATES = st.fixed_dictionaries({}, optional=FIELDS).filter(bool)
EDGES: dict[str, Any] = {
    "number": 0,
    "big": 2**63 - 1,
    "char": "",
    "text": "\x01\x1f\x7f\u2028\"\\/'%s $1 :x 🦄",
    "email": None,
    "flag": False,
    "ratio": -0.0,
    "price": Decimal("-0.001"),
    "tiny": Decimal("0E-10"),
    "day": dt.date.max,
    "clock": dt.time(12, 0, 0, 500_000),
    "moment": dt.datetime.max.replace(tzinfo=dt.UTC),
    "token": uuid.UUID(int=0),
    "document": {"": [1e22, 5e-324, True, 1, None, "\u2028", {"a": 1.0}]},
    "blob": b"",
    "color": Color.GREEN,
    "size": None,
    "wait": dt.timedelta(microseconds=-1),
    "site": "https://example.org",
    "settings": Settings(theme="", words=frozenset("abc")),
    "prices": [Decimal("0.10")],
    "parent": None,
    "secret": "",
}


class Service(NamedTuple):
    """A service on PostgreSQL whose outbox nobody empties."""

    database: edgy.Database
    model: Any
    encoder: EventEncoder

    async def events(self) -> list[dict[str, Any]]:
        """Return the outbox, and empty it."""
        rows = (await self.database.run(select(outbox).order_by(outbox.c.id))).rows
        await self.database.run(outbox.delete())
        return rows

    async def stored(self, key: int) -> dict[str, Any]:
        """Return a row as the database has it."""
        [row] = await self.model.query.filter(pk=key).values()
        return row

    async def repeat(self, key: int) -> None:
        """Write the event of a row again, as a backfill does."""
        meta = self.model.meta
        where = meta.conditions({"pk": key})
        async with self.database.transaction():
            await meta.registry.writer.repeat(meta, where, 1, "search/index")

    def expected(self, signal: str, change: RowChange) -> dict[str, Any]:
        """Return the event that Python makes."""
        [event] = self.encoder.events(self.model.meta, signal, [change])
        return event


@asynccontextmanager
async def service(url: str) -> AsyncIterator[Service]:
    database = edgy.Database(url)
    limits = EventSettings(max_bytes=10_000_000)
    bus = edgy.Bus("memory://", service="shop", relay=False, events=limits)
    registry = edgy.Registry(database, bus=bus)
    model = declare(registry)
    async with bus:
        await registry.create_all()
        await model.query.create(**EDGES)
        await database.run(outbox.delete())
        yield Service(database, model, EventEncoder("shop", limits))


def assert_same(event: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare an event of the database with the event of Python."""
    for name in ("model", "label", "signal", "subject", "traceparent", "source"):
        assert event[name] == expected[name], name
    data, expected_data = loads(event["data"]), loads(expected["data"])
    assert data == expected_data
    assert not differ(data, expected_data), "true and 1 are different in JSON"


async def check(shop: Service, values: dict[str, Any], update: dict[str, Any]) -> None:
    row = await shop.model.query.create(**values)
    created = await shop.stored(row.pk)
    await shop.repeat(row.pk)
    await row.update(**update)
    updated = await shop.stored(row.pk)
    await row.delete()
    events = await shop.events()
    expected = [
        shop.expected("post_save", RowChange(row.pk, created)),
        # A backfill sends what the save has sent.
        shop.expected("post_save", RowChange(row.pk, created)),
        shop.expected("post_update", RowChange(row.pk, updated, created, tuple(update))),
        shop.expected("post_delete", RowChange(row.pk, updated)),
    ]
    for event, other in zip(events, expected, strict=True):
        assert_same(event, other)


def test_the_event_of_a_row_is_the_same_whether_postgresql_or_python_writes_it(
    postgres_url: str,
) -> None:
    with asyncio.Runner() as runner:
        context = service(postgres_url)
        shop = runner.run(context.__aenter__())

        @settings(
            max_examples=150,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(ROWS, UPDATES)
        @example(EDGES, EDGES)
        @example(EDGES, {"document": {"a": [True, 0, 1.0]}, "text": None, "day": dt.date.min})
        @example(EDGES | {"document": {"a": 1}}, {"document": {"a": True}})
        @example(EDGES | {"document": {"a": 1}}, {"document": {"a": 1.0}})
        @example(EDGES | {"document": True}, {"document": 1})
        @example(EDGES | {"moment": None}, {"moment": dt.datetime.min.replace(tzinfo=dt.UTC)})
        @example(EDGES, {"moment": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)})
        @example(EDGES, {"secret": "hidden"})
        def compare(values: dict[str, Any], update: dict[str, Any]) -> None:
            runner.run(check(shop, values, update))

        try:
            compare()
        finally:
            runner.run(context.__aexit__(None, None, None))


def test_a_row_and_its_event_leave_the_session_as_it_was() -> None:
    """A session that a statement may have changed is reset, which costs a round trip."""
    model = declare(edgy.Registry("sqlite:///nowhere.sqlite"))
    updates = [(1, dict.fromkeys(FIELDS))]
    single = UpdateRows(model.meta, "post_update", updates, exclusive=True).single()
    assert single is not None
    kind = EventKind(
        model.meta.table,
        "id",
        model.meta.public,
        single.read,
        True,
        "shop.Everything",
        "s",
        "shop",
        8,
        9,
    )
    assert is_harmless(with_event(single.statement, kind))
