"""What is annotated is what one gets: created, loaded, in a local receiver and in a worker.

Every field function is tried with every kind of annotation that it takes, and with values that
Hypothesis chooses, on both databases. Lookups must find exactly the rows that Python finds.
"""

import asyncio
import dataclasses
import datetime as dt
import enum
import ipaddress
import json
import math
import operator
import pathlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Optional

import pydantic
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from typing_extensions import TypedDict

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.database import as_utc
from edgy_bus.outbox.table import outbox
from edgy_bus.signals import post_save

Values = dict[str, Any]


class Color(enum.Enum):
    RED = "red"
    GREEN = "g'r\"n"


class Size(enum.StrEnum):
    SMALL = "S"
    LARGE = "L"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Whole(enum.Enum):
    ONE = 1
    TWO = 2


class Settings(pydantic.BaseModel):
    theme: str = pydantic.Field(default="dark", alias="colourTheme")
    since: dt.date | None = None
    size: Size = Size.SMALL

    model_config = pydantic.ConfigDict(populate_by_name=True)


class StrictSettings(pydantic.BaseModel):
    tags: frozenset[int]
    at: dt.datetime

    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    @pydantic.computed_field
    def count(self) -> int:
        return len(self.tags)


@dataclasses.dataclass
class Money:
    amount: Decimal
    currency: str


class Address(TypedDict):
    street: str
    moved: dt.date


class Point(NamedTuple):
    x: int
    y: int


def point_text(point: Point) -> str:
    return f"{point.x};{point.y}"


def point_of(value: Any) -> Point:
    return value if isinstance(value, Point) else Point(*map(int, value.split(";")))


TextPoint = Annotated[
    Point, pydantic.PlainValidator(point_of), pydantic.PlainSerializer(point_text)
]


class Case(NamedTuple):
    """A field function, an annotation, and values."""

    annotation: Any
    make: Callable[..., Any]
    values: st.SearchStrategy[Any]
    ordered: bool = False
    secret: bool = False


LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
TEXT = st.text(LETTERS, max_size=8) | st.text(st.sampled_from("aAbB%_\\/*?[]."), max_size=4)
WHOLE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(LETTERS, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | REAL | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, JSON, max_size=3)
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=st.timezones())
SHORT = st.timedeltas(dt.timedelta(days=-99_420), dt.timedelta(days=99_420))
URLS = st.sampled_from(["https://example.org", "http://a.example/b?c=d#e", "https://x.example/%20"])
SETTINGS = st.builds(Settings, theme=TEXT, since=st.none() | st.dates(), size=st.sampled_from(Size))


def char(**options: Any) -> Any:
    return edgy.CharField(max_length=100, **options)


def decimal(digits: int, places: int) -> Callable[..., Any]:
    def make(**options: Any) -> Any:
        return edgy.DecimalField(max_digits=digits, decimal_places=places, **options)

    return make


def decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    limit = 10**digits - 1
    whole = st.integers(-limit, limit) | st.sampled_from([0, 1, -1, limit, -limit])
    return whole.map(lambda number: Decimal(f"{number}E-{places}"))


def choice(choices: Any) -> Callable[..., Any]:
    def make(**options: Any) -> Any:
        return edgy.ChoiceField(choices, **options)

    return make


CASES: dict[str, Case] = {
    "integer": Case(int, edgy.IntegerField, st.integers(-(2**31), 2**31 - 1), ordered=True),
    "big": Case(int, edgy.BigIntegerField, WHOLE, ordered=True),
    "int_enum": Case(Level, edgy.IntegerField, st.sampled_from(Level), ordered=True),
    "enum_of_ints": Case(Whole, edgy.BigIntegerField, st.sampled_from(Whole)),
    "literal_int": Case(Literal[1, 2], edgy.IntegerField, st.sampled_from([1, 2])),
    "boolean": Case(bool, edgy.BooleanField, st.booleans()),
    "real": Case(float, edgy.FloatField, REAL, ordered=True),
    "price": Case(Decimal, decimal(12, 3), decimals(12, 3), ordered=True),
    "balance": Case(Decimal, decimal(20, 2), decimals(20, 2), ordered=True),
    "fraction": Case(Decimal, decimal(15, 15), decimals(15, 15), ordered=True),
    "whole": Case(Decimal, decimal(16, 0), decimals(16, 0), ordered=True),
    "precise": Case(Decimal, decimal(38, 19), decimals(38, 19), ordered=True),
    "char": Case(str, char, TEXT),
    "text": Case(str, edgy.TextField, TEXT),
    "size": Case(str, choice(["S", "M"]), st.sampled_from(["S", "M"])),
    "color": Case(Color, choice(Color), st.sampled_from(Color)),
    "color_text": Case(str, choice(Color), st.sampled_from([color.value for color in Color])),
    "enum_in_char": Case(Color, char, st.sampled_from(Color)),
    "str_enum": Case(Size, edgy.TextField, st.sampled_from(Size)),
    "literal": Case(Literal["a", "b"], char, st.sampled_from(["a", "b"])),
    "url": Case(pydantic.HttpUrl, char, URLS.map(pydantic.HttpUrl)),
    "any_url": Case(pydantic.AnyUrl, edgy.TextField, URLS.map(pydantic.AnyUrl)),
    "path": Case(pathlib.Path, char, st.sampled_from([pathlib.Path("/a/b"), pathlib.Path("c")])),
    "ip": Case(ipaddress.IPv4Address, char, st.ip_addresses(v=4)),
    "uuid_in_char": Case(uuid.UUID, char, st.uuids()),
    "decimal_in_char": Case(Decimal, char, decimals(10, 2)),
    "duration_in_char": Case(dt.timedelta, char, SHORT),
    "date_in_text": Case(dt.date, edgy.TextField, st.dates()),
    "own_type": Case(TextPoint, edgy.TextField, st.builds(Point, st.integers(), st.integers())),
    "secret": Case(pydantic.SecretStr, char, TEXT.map(pydantic.SecretStr), secret=True),
    "day": Case(dt.date, edgy.DateField, st.dates(), ordered=True),
    "past": Case(pydantic.PastDate, edgy.DateField, st.dates(max_value=dt.date(2000, 1, 1))),
    "moment": Case(dt.datetime, edgy.DateTimeField, MOMENTS.map(as_utc), ordered=True),
    "aware": Case(pydantic.AwareDatetime, edgy.DateTimeField, MOMENTS.map(as_utc), ordered=True),
    "clock": Case(dt.time, edgy.TimeField, st.times(), ordered=True),
    "duration": Case(dt.timedelta, edgy.DurationField, SHORT, ordered=True),
    "blob": Case(bytes, edgy.BinaryField, st.binary(max_size=9), ordered=True),
    "secret_blob": Case(
        pydantic.SecretBytes,
        edgy.BinaryField,
        st.binary(max_size=9).map(pydantic.SecretBytes),
        secret=True,
    ),
    "token": Case(uuid.UUID, edgy.UUIDField, st.uuids(), ordered=True),
    "any_json": Case(Any, edgy.JSONField, JSON.filter(lambda value: value is not None)),
    "document": Case(dict[str, Any], edgy.JSONField, DOCUMENTS),
    "tags": Case(list[str], edgy.JSONField, st.lists(TEXT, max_size=3)),
    "floats": Case(list[float], edgy.JSONField, st.lists(st.floats(-1e300, 1e300), max_size=3)),
    "settings": Case(Settings, edgy.JSONField, SETTINGS),
    "list_of_models": Case(list[Settings], edgy.JSONField, st.lists(SETTINGS, max_size=2)),
    "strict": Case(
        StrictSettings,
        edgy.JSONField,
        st.builds(StrictSettings, tags=st.frozensets(WHOLE, max_size=3), at=MOMENTS.map(as_utc)),
    ),
    "days": Case(list[dt.date], edgy.JSONField, st.lists(st.dates(), max_size=3)),
    "uuids": Case(
        dict[str, uuid.UUID], edgy.JSONField, st.dictionaries(NAMES, st.uuids(), max_size=2)
    ),
    "by_number": Case(
        dict[int, str], edgy.JSONField, st.dictionaries(st.integers(0, 99), TEXT, max_size=3)
    ),
    "prices": Case(list[Decimal], edgy.JSONField, st.lists(decimals(30, 2), max_size=3)),
    "set": Case(set[int], edgy.JSONField, st.sets(WHOLE, max_size=4)),
    "words": Case(frozenset[str], edgy.JSONField, st.frozensets(TEXT, max_size=4)),
    "pair": Case(tuple[int, str], edgy.JSONField, st.tuples(WHOLE, TEXT)),
    "dataclass": Case(Money, edgy.JSONField, st.builds(Money, decimals(9, 2), TEXT)),
    "typed_dict": Case(
        Address,
        edgy.JSONField,
        st.fixed_dictionaries({"street": TEXT, "moved": st.dates()}),
    ),
    "enums": Case(list[Level], edgy.JSONField, st.lists(st.sampled_from(Level), max_size=3)),
    "optional": Case(list[Optional[Color]], edgy.JSONField, st.just([None, Color.RED])),  # noqa: UP045
}

GROUPS = [list(CASES)[start : start + 8] for start in range(0, len(CASES), 8)]
"""The fields of each model. A model of 50 columns has no single statement."""


def declare(registry: edgy.Registry, name: str, fields: dict[str, Any], types: Values) -> Any:
    place = {"__module__": __name__, "__qualname__": f"{name}.Meta"}
    meta = type("Meta", (), {"registry": registry, **place})
    body = {**fields, "__annotations__": types, "__module__": __name__, "Meta": meta}
    body["__qualname__"] = name
    return type(edgy.Model)(name, (edgy.Model,), body)


def declare_group(registry: edgy.Registry, number: int, names: list[str]) -> Any:
    fields = {name: CASES[name].make(null=True) for name in names}
    types = {name: Optional[CASES[name].annotation] for name in names}  # noqa: UP045
    key = edgy.BigIntegerField(primary_key=True)
    return declare(registry, f"Group{number}", {"id": key, **fields}, {"id": int, **types})


class World(NamedTuple):
    """A service with a model for each group of fields."""

    database: edgy.Database
    models: list[Any]
    seen: list[Any]
    """The instances that a local receiver got."""

    async def events(self) -> list[Any]:
        """Return the data of the events in the outbox, and empty the outbox."""
        rows = (await self.database.run(select(outbox).order_by(outbox.c.id))).rows
        await self.database.run(outbox.delete())
        return [loads(row["data"]) for row in rows]


@asynccontextmanager
async def world(url: str) -> AsyncIterator[World]:
    bus = edgy.Bus("memory://", service="shop", relay=False)
    registry = edgy.Registry(edgy.Database(url), bus=bus)
    models = [declare_group(registry, number, names) for number, names in enumerate(GROUPS)]
    seen: list[Any] = []

    @post_save(models, local=True)
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(instance.model_copy())

    async with bus:
        await registry.create_all()
        yield World(registry.database, models, seen)


@contextmanager
def running(url: str) -> Iterator[tuple[asyncio.Runner, World]]:
    with asyncio.Runner() as runner:
        context = world(url)
        opened = runner.run(context.__aenter__())
        try:
            yield runner, opened
        finally:
            runner.run(context.__aexit__(None, None, None))


RELAXED = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_same(value: Any, expected: Any, where: str) -> None:
    """Compare values and types, at any depth."""
    assert type(value) is type(expected), where
    assert value == expected, where
    if isinstance(expected, dict):
        for name in expected:
            assert_same(value[name], expected[name], f"{where}.{name}")
    if isinstance(expected, list | tuple):
        for part, other in zip(value, expected, strict=True):
            assert_same(part, other, f"{where}[]")


def values_of(names: list[str]) -> st.SearchStrategy[Values]:
    return st.fixed_dictionaries({name: st.none() | CASES[name].values for name in names})


GROUPS_WITH_VALUES = st.integers(0, len(GROUPS) - 1).flatmap(
    lambda number: st.tuples(st.just(number), values_of(GROUPS[number]))
)


async def check_types(shop: World, number: int, values: Values) -> None:
    model = shop.models[number]
    created = await model.query.create(**values)
    loaded = await model.query.get(pk=created.pk)
    [dictionary] = await model.query.filter(pk=created.pk).values()
    [in_receiver] = shop.seen
    shop.seen.clear()
    await created.save()
    shop.seen.clear()
    saved = await model.query.get(pk=created.pk)
    [data, _] = await shop.events()
    in_worker = model.meta.read(data["instance"])
    for name, value in values.items():
        assert_same(getattr(created, name), value, f"{name}, created")
        assert_same(getattr(loaded, name), value, f"{name}, loaded")
        assert_same(getattr(saved, name), value, f"{name}, saved again")
        assert_same(dictionary[name], value, f"{name}, values()")
        assert_same(getattr(in_receiver, name), value, f"{name}, in a local receiver")
        if CASES[name].secret:
            assert name not in data["instance"]
        else:
            assert_same(getattr(in_worker, name), value, f"{name}, in a worker")


JSON_NUMBERS = [1e16, -1e300, 5e-324, 0.0, 2.0**53, 2**53, {'1e+16 " \\': 'e+1 " \\1e+16'}]
"""Numbers that PostgreSQL could return as another type, and texts that look like numbers."""


def edges(number: int) -> Values:
    """Return values of a group: numbers in JSON, and None."""
    numbers = {
        "any_json": JSON_NUMBERS,
        "document": {"numbers": JSON_NUMBERS},
        "floats": [1e16, 1e300],
    }
    return {name: numbers.get(name) for name in GROUPS[number]}


EDGES = [(number, edges(number)) for number in range(len(GROUPS)) if any(edges(number).values())]


def test_what_is_annotated_is_what_one_gets(database_url: str) -> None:
    with running(database_url) as (runner, shop):

        @RELAXED
        @given(GROUPS_WITH_VALUES)
        @example(EDGES[0])
        @example(EDGES[-1])
        def check(drawn: tuple[int, Values]) -> None:
            runner.run(check_types(shop, *drawn))

        check()


def test_a_whole_number_beyond_64_bits_is_the_float_of_its_event(database_url: str) -> None:
    [number] = [number for number, names in enumerate(GROUPS) if "any_json" in names]

    async def check(shop: World) -> None:
        model = shop.models[number]
        created = await model.query.create(any_json=[10**22])
        loaded = await model.query.get(pk=created.pk)
        [data] = await shop.events()
        in_worker = model.meta.read(data["instance"])
        for instance in (created, loaded, in_worker):
            assert_same(instance.any_json, [1e22], "any_json")

    with running(database_url) as (runner, shop):
        runner.run(check(shop))


async def check_changes(shop: World, number: int, old: Values, new: Values) -> None:
    """Update one row as a single statement, and one as a set: the events must be equal."""
    model = shop.models[number]
    row, other = [await model.query.create(**old) for _ in range(2)]
    await shop.events()
    await row.update(**new)
    await model.query.filter(pk=other.pk).update(**new)
    single, of_set = await shop.events()
    assert single["changes"] == of_set["changes"]
    public = {name: value for name, value in new.items() if not CASES[name].secret}
    differing = {name for name, value in public.items() if not alike(old[name], value)}
    assert set(single["changes"]) == differing
    shop.seen.clear()


def alike(one: Any, other: Any) -> bool:
    # JSON distinguishes true from 1 and 0.0 from False; Python does not.
    return type(one) is type(other) and repr_of(one) == repr_of(other)


def repr_of(value: Any) -> Any:
    return json.dumps(value, sort_keys=True, default=repr) if is_plain_json(value) else value


def is_plain_json(value: Any) -> bool:
    return isinstance(value, dict | list | bool) or value is None


def test_the_changes_of_any_type_are_the_same_for_rows_and_sets(database_url: str) -> None:
    names = st.integers(0, len(GROUPS) - 1)
    drawn = names.flatmap(
        lambda number: st.tuples(
            st.just(number), values_of(GROUPS[number]), values_of(GROUPS[number])
        )
    )
    with running(database_url) as (runner, shop):

        @RELAXED
        @given(drawn)
        def check(drawn: tuple[int, Values, Values]) -> None:
            number, old, new = drawn
            without_json = {
                name: value
                for name, value in new.items()
                if name not in ("any_json", "document", "floats")
            }
            if without_json:
                runner.run(check_changes(shop, number, old, without_json))

        check()


# Lookups


class Probe(NamedTuple):
    """A field, values of rows, and a value to look for."""

    name: str
    values: list[Any]
    value: Any


def number_of(name: str) -> int:
    return next(number for number, names in enumerate(GROUPS) if name in names)


PROBES = st.sampled_from(list(CASES)).flatmap(
    lambda name: st.builds(
        Probe,
        st.just(name),
        st.lists(st.none() | CASES[name].values, min_size=1, max_size=4),
        CASES[name].values,
    )
)

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


async def found(model: Any, lookup: str, value: Any) -> set[int]:
    return {row.pk for row in await model.query.filter(**{lookup: value})}


async def check_lookups(shop: World, probe: Probe) -> None:
    name, model = probe.name, shop.models[number_of(probe.name)]
    await model.query.delete()
    rows = {}
    for value in probe.values:
        row = await model.query.create(**{name: value})
        rows[row.pk] = getattr(row, name)
    shop.seen.clear()
    present = [value for value in rows.values() if value is not None]
    for value in [probe.value, *present]:
        equal = {key for key, other in rows.items() if alike(other, value)}
        assert await found(model, name, value) == equal
        assert await found(model, f"{name}__in", (part for part in [value])) == equal
        missing = {key for key, other in rows.items() if other is None}
        assert await found(model, f"{name}__in", [value, None]) == equal | missing
        excluded = {row.pk for row in await model.query.exclude(**{name: value})}
        assert excluded == set(rows) - equal
        if CASES[name].ordered:
            await check_order(model, name, rows, value)
    assert await found(model, name, None) == {key for key, other in rows.items() if other is None}
    assert await found(model, f"{name}__in", []) == set()


async def check_order(model: Any, name: str, rows: dict[int, Any], value: Any) -> None:
    known = {key: other for key, other in rows.items() if other is not None}
    for lookup, compare in ORDERS.items():
        expected = {key for key, other in known.items() if compare(other, value)}
        assert await found(model, f"{name}__{lookup}", value) == expected, lookup
    low, high = sorted([value, *known.values()])[:2] if known else (value, value)
    expected = {key for key, other in known.items() if low <= other <= high}
    assert await found(model, f"{name}__range", (low, high)) == expected
    ordered = await model.query.filter(**{f"{name}__isnull": False}).order_by(name)
    assert [getattr(row, name) for row in ordered] == sorted(known.values())


def test_lookups_find_the_rows_that_python_finds(database_url: str) -> None:
    with running(database_url) as (runner, shop):

        @RELAXED
        @given(PROBES)
        def check(probe: Probe) -> None:
            runner.run(check_lookups(shop, probe))

        check()


TEXT_LOOKUPS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


async def check_text(shop: World, texts: list[str], part: str) -> None:
    model = shop.models[number_of("char")]
    await model.query.delete()
    rows = {(await model.query.create(char=text)).pk: text for text in texts}
    shop.seen.clear()
    for lookup, matches in TEXT_LOOKUPS.items():
        expected = {key for key, text in rows.items() if matches(text, part)}
        assert await found(model, f"char__{lookup}", part) == expected, lookup
        if part.isascii() and all(text.isascii() for text in texts):
            folded = {key for key, text in rows.items() if matches(text.lower(), part.lower())}
            assert await found(model, f"char__i{lookup}", part) == folded, lookup
    if part.isascii():
        equal = {key for key, text in rows.items() if text.lower() == part.lower()}
        assert await found(model, "char__iexact", part) == equal or not all(
            text.isascii() for text in texts
        )


def test_lookups_of_text_are_alike_on_all_databases(database_url: str) -> None:
    with running(database_url) as (runner, shop):

        @RELAXED
        @given(st.lists(TEXT, min_size=1, max_size=4), TEXT)
        def check(texts: list[str], part: str) -> None:
            runner.run(check_text(shop, texts, part))

        check()


NUMBERS = st.integers(-(2**80), 2**80)
FAR: dict[str, st.SearchStrategy[Any]] = {
    "integer": NUMBERS,
    "big": NUMBERS,
    "price": st.decimals(allow_nan=False, allow_infinity=False),
    "balance": st.decimals(allow_nan=False, allow_infinity=False),
    "precise": st.decimals(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**40), 10**40).map(lambda number: Decimal(f"{number}E-20")),
    "duration": st.timedeltas(),
    "moment": st.datetimes(timezones=st.timezones()),
    "real": st.floats(allow_nan=False),
}


async def check_far(shop: World, name: str, values: list[Any], value: Any) -> None:
    model = shop.models[number_of(name)]
    await model.query.delete()
    rows = {}
    for stored in values:
        row = await model.query.create(**{name: stored})
        rows[row.pk] = getattr(row, name)
    shop.seen.clear()
    equal = {key for key, other in rows.items() if other == value}
    assert await found(model, name, value) == equal
    assert await found(model, f"{name}__in", [value]) == equal
    for lookup, compare in ORDERS.items():
        expected = {key for key, other in rows.items() if compare(other, value)}
        assert await found(model, f"{name}__{lookup}", value) == expected, lookup


def test_values_out_of_range_are_compared_all_the_same(database_url: str) -> None:
    drawn = st.sampled_from(list(FAR)).flatmap(
        lambda name: st.tuples(
            st.just(name), st.lists(CASES[name].values, min_size=1, max_size=3), FAR[name]
        )
    )
    with running(database_url) as (runner, shop):

        @RELAXED
        @given(drawn)
        def check(drawn: tuple[str, list[Any], Any]) -> None:
            runner.run(check_far(shop, *drawn))

        check()


async def check_many(shop: World) -> None:
    for name, many in {
        "big": range(40_000),
        "text": [str(number) for number in range(40_000)],
        "price": [Decimal(number) / 10 for number in range(40_000)],
        "balance": [Decimal(number) / 10 for number in range(40_000)],
        "real": [number / 7 for number in range(40_000)],
        "moment": [as_utc(dt.datetime.fromtimestamp(n, dt.UTC)) for n in range(40_000)],
        "token": [uuid.UUID(int=number) for number in range(40_000)],
        "blob": [number.to_bytes(4, "big") for number in range(40_000)],
        "duration": [dt.timedelta(microseconds=number) for number in range(40_000)],
    }.items():
        model = shop.models[number_of(name)]
        row = await model.query.create(**{name: list(many)[39_999]})
        other = CASES[name].values
        assert await found(model, f"{name}__in", many) == {row.pk}, (name, other)
        assert await found(model, f"{name}__in", list(many)[:39_999]) == set(), name
        await model.query.delete()


def test_any_number_of_values_may_be_looked_for(database_url: str) -> None:
    with running(database_url) as (runner, shop):
        runner.run(check_many(shop))


async def check_refused(shop: World) -> None:
    for name, lookup, value in [
        ("integer", "exact", "abc"),
        ("integer", "gt", None),
        ("integer", "contains", "1"),
        ("integer", "in", 5),
        ("text", "in", "abc"),
        ("text", "exact", 5),
        ("integer", "range", (1, 2, 3)),
        ("integer", "isnull", "no"),
        ("real", "exact", math.nan),
        ("token", "exact", "no-uuid"),
        ("moment", "exact", "yesterday"),
        ("clock", "exact", dt.datetime(2020, 1, 1)),
        ("color", "exact", "blue"),
        ("document", "gt", {}),
        ("document", "contains", "a"),
        ("settings", "exact", {"since": "never"}),
    ]:
        model = shop.models[number_of(name)]
        with pytest.raises(edgy.OperationError, match=f"Group[0-9].{name}"):
            model.query.filter(**{f"{name}__{lookup}": value})


def test_what_no_row_can_have_is_refused(database_url: str) -> None:
    with running(database_url) as (runner, shop):
        runner.run(check_refused(shop))


@pytest.mark.parametrize(
    "value", [0, 0.0, 1.0, -2.0, 0.1, 2**53 + 1, "0.0", "1", " 2 ", True, [0.0]]
)
def test_a_number_alone_in_json_keeps_its_type(database_url: str, value: Any) -> None:
    [number] = [number for number, names in enumerate(GROUPS) if "any_json" in names]
    values = dict.fromkeys(GROUPS[number]) | {"any_json": value}
    with running(database_url) as (runner, shop):
        runner.run(check_types(shop, number, values))
