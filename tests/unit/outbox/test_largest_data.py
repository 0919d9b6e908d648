"""No event of a row is larger than the bound, and columns without a limit have none."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

import edgy_bus as edgy
from edgy_bus.codec import dumps
from edgy_bus.outbox.largest_data import largest_data
from edgy_bus.outbox.single_statement import EventKind, with_event
from edgy_bus.sources.statements import delete_row


class Color(enum.Enum):
    RED = "\x1f" * 10


VALUES: dict[str, tuple[Any, Any, Any]] = {
    "number": (int, edgy.IntegerField(), -(2**31)),
    "big": (int, edgy.BigIntegerField(), -(2**63)),
    "flag": (bool, edgy.BooleanField(), False),
    "ratio": (float, edgy.FloatField(), -1.7976931348623157e308),
    "price": (
        Decimal,
        edgy.DecimalField(max_digits=100, decimal_places=100),
        Decimal("-0." + "9" * 100),
    ),
    "name": (str, edgy.CharField(max_length=60), "\x1f" * 60),
    "color": (Color, edgy.ChoiceField(Color), "\x1f" * 10),
    "day": (dt.date, edgy.DateField(), dt.date.max),
    "clock": (dt.time, edgy.TimeField(), dt.time.max),
    "moment": (dt.datetime, edgy.DateTimeField(), dt.datetime.max.replace(tzinfo=dt.UTC)),
    "wait": (dt.timedelta, edgy.DurationField(), -(2**63) / 10**6),
    "token": (uuid.UUID, edgy.UUIDField(), uuid.UUID(int=2**128 - 1)),
}
ENDLESS: dict[str, tuple[Any, Any]] = {
    "text": (str, edgy.TextField()),
    "document": (dict[str, Any], edgy.JSONField()),
    "blob": (bytes, edgy.BinaryField()),
}


def table_of(fields: dict[str, tuple[Any, Any]]) -> Any:
    body: dict[str, Any] = {
        "__module__": __name__,
        "__qualname__": "Thing",
        "__annotations__": {"id": int, **{name: each[0] for name, each in fields.items()}},
        "id": edgy.BigIntegerField(primary_key=True),
        "Meta": type(
            "Meta",
            (),
            {"registry": edgy.Registry("sqlite:///:memory:"), "__qualname__": "Thing.Meta"},
        ),
    }
    body |= {name: each[1] for name, each in fields.items()}
    return type(edgy.Model)("Thing", (edgy.Model,), body).meta.table  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", VALUES)
def test_no_event_is_larger_than_the_bound(name: str) -> None:
    annotation, declared, value = VALUES[name]
    table = table_of({name: (annotation, declared)})
    row = {"id": -(2**63), name: value}
    changes = {name: {"old": value, "new": value}}
    event = {"instance": row, "is_update": True, "assigned": [name], "changes": changes}
    bound = largest_data(table, ("id", name), (name,))
    assert bound is not None
    assert len(dumps(event)) <= bound


@pytest.mark.parametrize("name", ENDLESS)
def test_columns_without_a_limit_have_no_bound(name: str) -> None:
    table = table_of({"number": VALUES["number"][:2], name: ENDLESS[name]})
    assert largest_data(table, ("id", "number"), ()) is not None
    assert largest_data(table, ("id", name), ()) is None
    assert largest_data(table, ("id",), (name,)) is None


@pytest.mark.parametrize(
    ("name", "max_bytes", "is_short"),
    [("number", 1_000_000, True), ("number", 100, False), ("text", 1_000_000, False)],
)
def test_only_rows_that_can_be_too_large_pay_for_smaller_data(
    name: str, max_bytes: int, is_short: bool
) -> None:
    field = VALUES[name][:2] if name in VALUES else ENDLESS[name]
    table = table_of({name: field})
    public = ("id", name)
    kind = EventKind(
        table, "id", public, None, False, "shop.Thing", "post_delete", "shop", 8, max_bytes
    )
    statement = with_event(delete_row(table.c.id), kind)
    text = str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[attr-defined, no-untyped-call]
    assert ("jsonb_each" not in text) is is_short
