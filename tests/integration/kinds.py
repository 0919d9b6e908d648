"""The fields that tests of any model draw: every field function, with values of the annotation."""

import datetime as dt
import enum
import types
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import pydantic
from hypothesis import strategies as st

import edgy_bus as edgy
from edgy_bus.codec import dumps, loads

Row = dict[str, Any]


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Terms(pydantic.BaseModel):
    days: int = 30
    since: dt.date | None = None


class Kind(NamedTuple):
    """A field: its annotation, its declaration, its default, and values."""

    annotation: Any
    declare: Callable[..., Any]
    default: Any
    values: st.SearchStrategy[Any]


LETTERS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | LETTERS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(LETTERS, inner, max_size=2),
    max_leaves=4,
)
SMALL = st.integers(-3, 3)
DAYS = st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))
MOMENTS = st.datetimes(dt.datetime(2000, 1, 1), timezones=st.just(dt.UTC))
URLS = st.sampled_from(["https://example.org/", "http://a.example/b?c=d"]).map(pydantic.HttpUrl)


def _decimal(digits: int, places: int) -> Callable[..., Any]:
    return lambda **options: edgy.DecimalField(max_digits=digits, decimal_places=places, **options)


def _char(**options: Any) -> Any:
    return edgy.CharField(max_length=40, **options)


def _choice(**options: Any) -> Any:
    return edgy.ChoiceField(Color, **options)


def _secret(**options: Any) -> Any:
    return edgy.TextField(secret=True, **options)


def _unique(**options: Any) -> Any:
    return edgy.TextField(unique=True, **options)


KINDS: dict[str, Kind] = {
    "number": Kind(int, edgy.IntegerField, 0, SMALL),
    "big": Kind(int, edgy.BigIntegerField, 0, st.integers(-(2**63), 2**63 - 1)),
    "note": Kind(str | None, edgy.TextField, None, st.none() | LETTERS),
    "flag": Kind(bool, edgy.BooleanField, False, st.booleans()),
    # SQLite stores -0.0 as 0.0.
    "ratio": Kind(
        float,
        edgy.FloatField,
        0.0,
        st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0),
    ),
    "price": Kind(Decimal, _decimal(8, 2), Decimal("0.00"), st.decimals(-100, 100, places=2)),
    # Text on SQLite.
    "exact": Kind(
        Decimal,
        _decimal(30, 10),
        Decimal("0E-10"),
        st.integers(-(10**30) + 1, 10**30 - 1).map(lambda value: Decimal(f"{value}E-10")),
    ),
    "day": Kind(dt.date | None, edgy.DateField, None, st.none() | DAYS),
    "moment": Kind(dt.datetime | None, edgy.DateTimeField, None, st.none() | MOMENTS),
    "clock": Kind(dt.time | None, edgy.TimeField, None, st.none() | st.times()),
    "span": Kind(
        dt.timedelta,
        edgy.DurationField,
        dt.timedelta(0),
        st.timedeltas(dt.timedelta(days=-90_000), dt.timedelta(days=90_000)),
    ),
    "document": Kind(Any, edgy.JSONField, None, JSON),
    "terms": Kind(
        Terms,
        edgy.JSONField,
        Terms(),
        st.builds(Terms, days=SMALL, since=st.none() | DAYS),
    ),
    "days": Kind(set[dt.date], edgy.JSONField, set(), st.sets(DAYS, max_size=2)),
    "token": Kind(uuid.UUID | None, edgy.UUIDField, None, st.none() | st.uuids()),
    "color": Kind(Color, _choice, Color.RED, st.sampled_from(Color)),
    "level": Kind(Level, edgy.IntegerField, Level.LOW, st.sampled_from(Level)),
    "page": Kind(pydantic.HttpUrl | None, _char, None, st.none() | URLS),
    "blob": Kind(bytes, edgy.BinaryField, b"", st.binary(max_size=3)),
    "secret": Kind(str | None, _secret, None, st.none() | LETTERS),
    "hidden": Kind(
        pydantic.SecretStr, _char, pydantic.SecretStr(""), LETTERS.map(pydantic.SecretStr)
    ),
    "code": Kind(str | None, _unique, None, st.none() | st.sampled_from("abc")),
}
"""The fields by name. `code` is unique; `secret` and `hidden` are in no event."""


def declared(
    registry: edgy.Registry, name: str, kinds: Mapping[str, Kind], base: type, members: Row
) -> Any:
    """Return a model of a registry with fields of these kinds, and with other `members`."""
    body: Row = {
        "__annotations__": {each: kind.annotation for each, kind in kinds.items()},
        "__module__": __name__,
        "__qualname__": name,
        # pydantic takes a class for a nested class by its qualified name.
        "Meta": type("Meta", (), {"registry": registry, "__qualname__": f"{name}.Meta"}),
        **members,
    }
    for each, kind in kinds.items():
        body[each] = kind.declare(default=kind.default, null=kind.default is None)
    return types.new_class(name, (base,), exec_body=lambda namespace: namespace.update(body))


def public_json(model: Any, row: Mapping[str, Any]) -> Row:
    """Return the part of a row that events contain, as JSON."""
    known = {name: value for name, value in row.items() if name in model.meta.public}
    return dict(loads(dumps(model.meta.stored(known))))


def changes_json(model: Any, changes: Mapping[str, Row] | None) -> Row | None:
    """Return `changes` as an event contains them."""
    if changes is None:
        return None
    sides: Iterable[str] = ("old", "new")
    rows = {
        side: public_json(
            model, {name: change[side] for name, change in changes.items() if side in change}
        )
        for side in sides
    }
    return {
        name: {side: rows[side][name] for side in sides if name in rows[side]}
        for name in changes
        if name in model.meta.public
    }
