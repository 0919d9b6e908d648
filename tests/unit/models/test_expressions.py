"""Expressions of fields: what they compute, what they refuse, and what their errors show."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from edgy_bus import F
from edgy_bus.database import ExactDecimal
from edgy_bus.errors import OperationError
from edgy_bus.sources.expressions import Formula, computed

TABLE = sa.Table(
    "items",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.String(20)),
    sa.Column("stock", sa.Integer),
    sa.Column("price", ExactDecimal(8, 2)),
    sa.Column("weight", sa.Double),
    sa.Column("size", sa.Enum("S", "M")),
    sa.Column("open", sa.Boolean),
    sa.Column("pin", sa.String(4), info={"secret": True}),
    sa.Column("old_pin", sa.String(4), info={"secret": True}),
)


def sql(value):
    return str(value.resolve(TABLE).compile(compile_kwargs={"literal_binds": True}))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (F("stock"), "items.stock"),
        (F("pk"), "items.id"),
        (F("stock") - 1, "items.stock - 1"),
        (1 - F("stock"), "1 - items.stock"),
        (2 * (F("stock") + F("id")), "2 * (items.stock + items.id)"),
        (-F("stock"), "0 - items.stock"),
        (7 % F("stock"), "7 % items.stock"),
        ("a" + F("name"), "'a' || items.name"),
        (F("name") + "a", "items.name || 'a'"),
    ],
    ids=repr,
)
def test_an_expression_is_sql(value, expected):
    assert sql(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (F("stcok"), "has no field 'stcok': did you mean 'stock'"),
        (F("name") + 1, "takes numbers, or texts with"),
        (F("name") * F("name"), "takes numbers, or texts with"),
        (F("open") + 1, "takes numbers"),
        (F("size") + "a", "takes numbers"),
        (F("weight") % 2, "takes whole numbers"),
        (F("price") % 2, "takes whole numbers"),
    ],
    ids=repr,
)
def test_a_wrong_expression_is_refused_when_it_meets_the_table(value, message):
    with pytest.raises(OperationError, match=message):
        value.resolve(TABLE)


@pytest.mark.parametrize(
    "make",
    [
        lambda: F(5),
        lambda: F("stock") + None,
        lambda: F("stock") + True,
        lambda: F("stock") + float("nan"),
        lambda: F("price") + Decimal("Infinity"),
        lambda: F("stock") / 0,
        lambda: F("stock") % 0,
        lambda: bool(F("stock")),
    ],
)
def test_a_wrong_operand_is_refused_at_once(make):
    with pytest.raises(OperationError):
        make()


def test_an_expression_shows_no_values():
    assert repr(F("name") + "secret") == "(F('name') + ?)"
    assert repr(5 * (F("stock") - F("id"))) == "(? * (F('stock') - F('id')))"


@pytest.mark.parametrize(
    ("name", "value"),
    [("stock", F("name")), ("name", F("stock")), ("open", F("stock")), ("size", F("name"))],
)
def test_an_expression_of_another_kind_is_refused(name, value):
    with pytest.raises(OperationError, match=f"{name!r} is a"):
        computed(TABLE, name, value, "sqlite")


def test_a_column_of_another_table_is_refused():
    other = sa.Table("others", sa.MetaData(), sa.Column("n", sa.Integer))
    with pytest.raises(OperationError, match="reads others: an update can compute"):
        computed(TABLE, "stock", other.c.n + 1, "sqlite")


@pytest.mark.parametrize(
    "value",
    [
        F("pin"),
        "pin: " + F("pin"),
        TABLE.c.pin,
        sa.func.upper(TABLE.c.pin),
        sa.select(TABLE.c.pin).scalar_subquery(),
    ],
    ids=repr,
)
def test_a_secret_is_not_copied_into_a_column_that_events_contain(value):
    with pytest.raises(OperationError, match="uses the secret 'pin', and events contain 'name'"):
        computed(TABLE, "name", value, "postgresql")
    assert computed(TABLE, "old_pin", value, "postgresql") is not None


def test_formulas_of_one_shape_are_equal_whatever_their_values():
    def formula(value, column="stock"):
        return Formula(column, computed(TABLE, column, value, "sqlite"))

    one, two = formula(F("stock") - 1), formula(F("stock") - 2)
    assert one == two
    assert hash(one) == hash(two)
    assert (one.parameters(), two.parameters()) == (
        {"computed_stock_0": 1},
        {"computed_stock_0": 2},
    )
    assert str(one.sql()) == "items.stock - :computed_stock_0"
    for other in (F("stock") + 1, F("id") - 1, F("stock") - 1.5, TABLE.c.stock - 1):
        assert formula(other) != one
    assert formula(F("stock") - 1, "id") != one
    assert formula(TABLE.c.stock - 1) == formula(TABLE.c.stock - 7)


def test_numbers_are_rounded_to_the_column():
    def assigned(name, value):
        element = computed(TABLE, name, value, "sqlite")
        return str(element.compile(compile_kwargs={"literal_binds": True}))

    assert assigned("stock", F("stock") + 1) == "items.stock + 1"
    assert assigned("stock", F("weight") * 2) == (
        "CAST(round(CAST(items.weight * 2 AS NUMERIC)) AS INTEGER)"
    )
    assert assigned("price", F("price") * Decimal("1.1")) == (
        "round(CAST(items.price * 1.1 AS NUMERIC), 2)"
    )
