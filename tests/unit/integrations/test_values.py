"""Values of columns in events: what a worker reads is what the column has."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import ModelError
from edgy_bus.integrations.sqlalchemy.values import Conversion

DIALECT = sqlite.dialect()


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Named(enum.Enum):
    ONE = "one"
    FIRST = "one"
    TWO = "two"


class Lower(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, _: Any) -> str | None:
        return None if value is None else value.lower()

    def process_result_value(self, value: str | None, _: Any) -> str | None:
        return None if value is None else f"<{value}>"


VALUES: list[tuple[Any, Any, Any]] = [
    (sa.Integer(), 7, 7),
    (sa.Boolean(), True, True),
    (sa.Float(), 1.0, 1.0),
    (sa.Numeric(10, 2), Decimal("1.50"), "1.50"),
    (sa.Date(), dt.date(2026, 1, 2), "2026-01-02"),
    (sa.DateTime(), dt.datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
    (sa.Time(), dt.time(1, 2), "01:02:00"),
    (sa.Interval(), dt.timedelta(seconds=1.5), 1.5),
    (sa.Uuid(), uuid.UUID(int=7), str(uuid.UUID(int=7))),
    (sa.LargeBinary(), b"\x00a", "AGE="),
    (sa.Enum(Color), Color.RED, "RED"),
    (sa.Enum(Color, values_callable=lambda kind: [str(each.value) for each in kind]),
     Color.BLUE, "2"),
    (sa.Enum("a", "b"), "a", "a"),
    (sa.Enum(Named), Named.TWO, "TWO"),
    (sa.Enum(Named, omit_aliases=False), Named.FIRST, "ONE"),
    (sa.Enum(Named, values_callable=lambda kind: [each.value for each in kind]),
     Named.FIRST, "one"),
    (sa.JSON(), {"a": [1, None]}, {"a": [1, None]}),
    (sa.ARRAY(sa.Enum(Color)), [Color.RED, None], ["RED", None]),
    (postgresql.ARRAY(sa.Numeric), [[Decimal(1)]], [["1"]]),
    (sa.String().with_variant(sa.Text(), "sqlite"), "x", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("column_type", "value", "json"), VALUES, ids=lambda each: str(each)[:20])
def test_a_value_goes_to_the_event_and_back(column_type: Any, value: Any, json: Any) -> None:
    conversion = Conversion(column_type, DIALECT, "User.x")
    event = loads(dumps(conversion.dump(value)))
    assert event == json
    assert conversion.load(event) == value
    assert type(conversion.load(event)) is type(value)
    assert conversion.load(None) is conversion.dump(None) is None


def test_a_decorator_converts_both_ways() -> None:
    conversion = Conversion(Lower(), DIALECT, "User.x")
    assert conversion.dump("ANN") == "ann"
    assert conversion.load("ann") == "<ann>"


@pytest.mark.parametrize(
    "column_type", [sa.PickleType(), postgresql.INT4RANGE(), postgresql.INET(), sa.types.NullType()]
)
def test_a_type_that_events_cannot_contain_is_refused(column_type: Any) -> None:
    with pytest.raises(ModelError, match=r"User\.x.*secret"):
        Conversion(column_type, DIALECT, "User.x")
