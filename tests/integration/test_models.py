"""Store models on SQLite and on PostgreSQL.

Every value of a field is read back unchanged, from the database and from an event.
"""

import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.codec import dumps, loads
from edgy_bus.errors import (
    DatabaseError,
    IntegrityError,
    ModelError,
    OperationError,
)
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import EventSettings


class Color(enum.Enum):
    RED = "red"
    GREEN = "g"


def declare(own: edgy.Registry) -> tuple[Any, Any]:
    class Owner(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.TextField()

        class Meta:
            registry = own

    class Everything(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        number: int = edgy.IntegerField(default=0)
        big: int = edgy.BigIntegerField(default=0)
        char: str = edgy.CharField(max_length=100, default="")
        text: str | None = edgy.TextField(null=True)
        email: str | None = edgy.EmailField(null=True)
        flag: bool = edgy.BooleanField(default=False)
        ratio: float = edgy.FloatField(default=0.0)
        price: Decimal = edgy.DecimalField(max_digits=12, decimal_places=3, default=Decimal(0))
        day: dt.date | None = edgy.DateField(null=True)
        clock: dt.time | None = edgy.TimeField(null=True)
        moment: dt.datetime | None = edgy.DateTimeField(null=True)
        changed: dt.datetime = edgy.DateTimeField(auto_now=True)
        created: dt.datetime = edgy.DateTimeField(auto_now_add=True)
        token: uuid.UUID = edgy.UUIDField(default=uuid.uuid4)
        document: Any = edgy.JSONField(null=True)
        blob: bytes = edgy.BinaryField(default=b"")
        color: Color = edgy.ChoiceField(Color, default=Color.RED)
        size: str = edgy.ChoiceField(["S", "M"], default="M")
        owner: int | None = edgy.ForeignKey(Owner, null=True, on_delete=edgy.SET_NULL)
        parent: int | None = edgy.ForeignKey("self", null=True, on_delete=edgy.CASCADE)

        class Meta:
            registry = own
            tablename = "everything"

    return Owner, Everything


@pytest.fixture
async def models(database: edgy.Database) -> tuple[Any, Any]:
    registry = edgy.Registry(database)
    found = declare(registry)
    await registry.create_all()
    return found


VALUES: dict[str, list[Any]] = {
    "number": [-(2**31), 2**31 - 1],
    "big": [-(2**63), 2**63 - 1],
    "char": ["100% \"quoted\" 'single' ; -- \\ :name $1 ? %s", "日本語 🦄", ""],
    "text": ["a" * 10_000_000, None],
    "flag": [True, False],
    "ratio": [0.1, -1e300],
    "price": [Decimal("123456789.125"), Decimal("-0.001")],
    "day": [dt.date(1, 1, 1), dt.date(9999, 12, 31), None],
    "clock": [dt.time(23, 59, 59, 999999), None],
    "moment": [
        dt.datetime.max.replace(tzinfo=dt.UTC),
        dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))),
        None,
    ],
    "token": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
    "document": [{"a": [1, 2.5, None, "ü"]}, [], "text", 0, False, None],
    "blob": [bytes(range(256)), b""],
    "color": [Color.GREEN],
    "size": ["S"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
async def test_what_was_stored_comes_back(models: tuple[Any, Any], field: str, value: Any) -> None:
    _, Everything = models
    created = await Everything.query.create(**{field: value})
    loaded = await Everything.query.get(pk=created.pk)
    assert getattr(loaded, field) == getattr(created, field) == value
    assert isinstance(getattr(loaded, field), type(value))


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
async def test_what_travelled_in_an_event_is_what_was_stored(
    models: tuple[Any, Any], field: str, value: Any
) -> None:
    _, Everything = models
    created = await Everything.query.create(**{field: value})
    travelled = Everything.from_snapshot(loads(dumps(created.snapshot())))
    assert getattr(travelled, field) == value
    assert type(getattr(travelled, field)) is type(value)
    assert travelled == created


@pytest.mark.parametrize(
    ("field", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
async def test_an_event_that_was_recorded_tells_what_was_stored(
    database: edgy.Database, field: str, value: Any
) -> None:
    """On PostgreSQL the database itself writes the event of a single row."""
    bus = edgy.Bus(
        "memory://", service="shop", relay=False, events=EventSettings(max_bytes=20_000_000)
    )
    registry = edgy.Registry(database, bus=bus)
    _, Everything = declare(registry)
    async with bus:
        await registry.create_all()
        created = await Everything.query.create(**{field: value})
        await created.update(number=7)
        events = [
            loads(row["data"])
            for row in (await database.run(select(outbox).order_by(outbox.c.id))).rows
        ]
    for event, number in zip(events, (value if field == "number" else 0, 7), strict=True):
        travelled = Everything.from_snapshot(event["instance"])
        for name in Everything.meta.fields:
            expected = getattr(created, name)
            if name == "changed":
                assert travelled.changed <= expected
            elif name == "number":
                assert travelled.number == number
            else:
                assert getattr(travelled, name) == expected, name
    assert events[0]["is_update"] is False
    assert events[1]["changes"]["number"]["new"] == 7


async def test_times_come_back_aware_and_in_utc(models: tuple[Any, Any]) -> None:
    _, Everything = models
    one = await Everything.query.create()
    loaded = await Everything.query.get(pk=one.pk)
    assert loaded.created.tzinfo is dt.UTC
    assert loaded.created == loaded.changed
    before = loaded.changed
    await loaded.update(number=1)
    assert loaded.changed > before
    assert loaded.created == one.created


@pytest.mark.parametrize(
    "values",
    [
        {"number": 2**31},
        {"char": "x" * 101},
        {"email": "nobody"},
        {"ratio": float("nan")},
        {"price": Decimal("0.0001")},
        {"color": "blue"},
        {"size": "XL"},
        {"document": object()},
        {"flag": "perhaps"},
    ],
)
async def test_what_does_not_fit_is_refused_before_any_sql(
    models: tuple[Any, Any], values: Any
) -> None:
    _, Everything = models
    with pytest.raises((pydantic.ValidationError, OperationError)):
        await Everything.query.create(**values)
    assert await Everything.query.count() == 0


async def test_a_nul_is_stored_or_refused_with_a_clear_error(
    models: tuple[Any, Any], database: edgy.Database
) -> None:
    _, Everything = models
    if database.dialect.name == "sqlite":
        one = await Everything.query.create(char="a\x00b")
        assert (await Everything.query.get(pk=one.pk)).char == "a\x00b"
    else:
        with pytest.raises(DatabaseError, match="invalid byte sequence"):
            await Everything.query.create(char="a\x00b")


async def test_a_list_of_keys_has_no_limit(models: tuple[Any, Any]) -> None:
    _, Everything = models
    one = await Everything.query.create()
    assert await Everything.query.filter(id__in=range(50_000)) == [one]


# Foreign keys


async def test_a_foreign_key_holds_a_key_and_loads_the_row(models: tuple[Any, Any]) -> None:
    Owner, Everything = models
    ada = await Owner.query.create(name="Ada")
    one = await Everything.query.create(owner=ada)
    assert one.owner == ada.id
    assert await one.related("owner") == ada
    assert await Everything.query.filter(owner=ada) == [one]
    assert await Everything.query.filter(owner__in=[ada]) == [one]
    await one.update(owner=None)
    assert await one.related("owner") is None


async def test_a_row_that_is_not_there_cannot_be_referred_to(models: tuple[Any, Any]) -> None:
    _, Everything = models
    with pytest.raises(IntegrityError):
        await Everything.query.create(owner=77)


async def test_the_database_does_on_delete_what_was_declared(models: tuple[Any, Any]) -> None:
    Owner, Everything = models
    ada = await Owner.query.create(name="Ada")
    root = await Everything.query.create(owner=ada)
    leaf = await Everything.query.create(parent=root)
    await ada.delete()
    assert (await Everything.query.get(pk=root.pk)).owner is None
    await root.delete()
    assert not await Everything.query.exists(pk=leaf.pk)


async def test_what_is_no_foreign_key_cannot_be_loaded(models: tuple[Any, Any]) -> None:
    _, Everything = models
    one = await Everything.query.create()
    with pytest.raises(OperationError, match="is not a foreign key"):
        await one.related("number")


async def test_only_a_saved_instance_of_the_right_model_stands_for_its_key(
    models: tuple[Any, Any],
) -> None:
    Owner, Everything = models
    unsaved = Owner(name="unsaved")
    one = await Everything.query.create()
    for wrong in (unsaved, one):
        with pytest.raises(pydantic.ValidationError, match="owner"):
            await Everything.query.create(owner=wrong)
        with pytest.raises(pydantic.ValidationError, match="owner"):
            await one.update(owner=wrong)
        with pytest.raises(pydantic.ValidationError, match="owner"):
            await Everything.query.update(owner=wrong)
        for lookup in ("owner", "owner__gt"):
            with pytest.raises(OperationError):
                await Everything.query.filter(**{lookup: wrong}).delete()
        with pytest.raises(OperationError):
            await Everything.query.filter(owner__in=[wrong]).delete()
    ada = await Owner.query.create(name="Ada")
    for wrong in (Everything(), ada):
        with pytest.raises(OperationError):
            await Everything.query.filter(pk=wrong).delete()
        with pytest.raises(pydantic.ValidationError, match="parent"):
            await one.update(parent=wrong)
    with pytest.raises(OperationError):
        await Everything.query.filter(number=one).delete()
    assert await Everything.query.count() == 1


async def test_a_new_row_that_has_its_key_stands_for_its_key_once_it_is_saved(
    database: edgy.Database,
) -> None:
    own = edgy.Registry(database)

    class Node(edgy.Model):
        id: uuid.UUID = edgy.UUIDField(primary_key=True, default=uuid.uuid4)
        parent: uuid.UUID | None = edgy.ForeignKey("self", null=True)

        class Meta:
            registry = own

    await own.create_all()
    root = Node()
    refused: list[Callable[[], Any]] = [
        lambda: Node(parent=root),
        lambda: Node.query.create(parent=root),
        lambda: Node.query.bulk_create([root, {"parent": root}]),
        lambda: Node.query.update(parent=root),
    ]
    for call in refused:
        with pytest.raises(pydantic.ValidationError, match="the Node is not saved"):
            await call()
    async with database.transaction(force_rollback=True):
        await root.save()
    # A rollback takes the row away, and the key with it.
    with pytest.raises(pydantic.ValidationError, match="the Node is not saved"):
        await Node.query.create(parent=root)
    await root.save()
    child = await Node.query.create(parent=root)
    assert await Node.query.filter(parent=root).all() == [child]
    await child.delete()
    await root.delete()
    # A receiver of `post_delete` looks for rows that referred to the deleted row.
    assert await Node.query.filter(parent=root).count() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: edgy.ForeignKey("User"), 'takes a model or "self"'),
        (lambda: edgy.ForeignKey("self", on_delete="EXPLODE"), "on_delete='EXPLODE'"),
        (lambda: edgy.ForeignKey("self", on_delete=edgy.SET_NULL), "needs null=True"),
        (lambda: edgy.ChoiceField([]), "at least one"),
        (lambda: edgy.ChoiceField(enum.Enum("Number", "ONE TWO")), "are texts"),
    ],
)
def test_declarations_that_do_not_add_up(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()
