"""Test compilation: a shape is compiled once, and every statement keeps its own values."""

import datetime as dt
import gc
import weakref
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from edgy_bus.database import Database, ExactDecimal, UTCDateTime, json_type
from edgy_bus.database.compiling import KEPT, Compiler

t = sa.Table(
    "t",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20)),
    sa.Column("tags", json_type()),
    sa.Column("price", ExactDecimal(8, 2)),
    sa.Column("made", UTCDateTime()),
)
NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


@pytest.fixture(
    params=["sqlite:///nowhere", "postgresql://nowhere/db"], ids=["sqlite", "postgresql"]
)
def compiler(request):
    return Compiler(Database(request.param).dialect)


@pytest.fixture
def sqlite():
    return Compiler(Database("sqlite:///nowhere").dialect)


@pytest.fixture
def postgres():
    return Compiler(Database("postgresql://nowhere/db").dialect)


def prepared(compiler, statement, parameters=None):
    """Return the SQL without line breaks, and its values."""
    ready = compiler.prepare(statement, parameters)
    return " ".join(ready.sql.split()), ready.arguments


def test_values_are_bound_in_the_way_of_the_driver(sqlite, postgres):
    query = sa.select(t.c.id).where(t.c.name == "Ada", t.c.id > 7)
    assert prepared(sqlite, query) == (
        "SELECT t.id FROM t WHERE t.name = ? AND t.id > ?",
        ("Ada", 7),
    )
    assert prepared(postgres, query) == (
        "SELECT t.id FROM t WHERE t.name = $1::VARCHAR AND t.id > $2::INTEGER",
        ("Ada", 7),
    )


def test_a_statement_of_the_same_shape_is_not_compiled_again(compiler):
    first = compiler.prepare(sa.select(t).where(t.c.name == "Ada"))
    second = compiler.prepare(sa.select(t).where(t.c.name == "Eva"))
    assert (first.arguments, second.arguments) == (("Ada",), ("Eva",))
    assert first.sql is second.sql
    assert first.columns is second.columns


def test_a_statement_of_another_shape_is_compiled(compiler):
    first = compiler.prepare(sa.select(t).where(t.c.name == "Ada"))
    second = compiler.prepare(sa.select(t).where(t.c.id == 1))
    assert first.sql != second.sql


def test_a_statement_that_is_used_again_takes_the_values_of_its_parameters(compiler):
    query = sa.select(t.c.id).where(t.c.name == sa.bindparam("person"), t.c.id > 5)
    first = compiler.prepare(query, {"person": "Ada"})
    second = compiler.prepare(query, {"person": "Eva"})
    assert first.arguments == ("Ada", 5)
    assert second.arguments == ("Eva", 5)
    assert first.sql is second.sql


def test_statements_that_differ_in_their_own_values_alone_do_not_mix_them_up(compiler):
    for limit in (5, 6):
        by_name = t.c.name == sa.bindparam("person")
        query = sa.select(t.c.id).where(by_name, t.c.id > limit)
        for name in "ab":
            assert compiler.prepare(query, {"person": name}).arguments == (name, limit)


def test_the_columns_that_are_given_decide_what_is_written(compiler):
    insert = sa.insert(t)
    assert prepared(compiler, insert, {"name": "Ada"})[0].startswith(
        "INSERT INTO t (name) VALUES ("
    )
    assert prepared(compiler, insert, {"id": 1, "name": "Ada"})[0].startswith(
        "INSERT INTO t (id, name) VALUES ("
    )
    assert prepared(compiler, insert, {"name": "Eva"})[1] == ("Eva",)
    assert prepared(compiler, insert, {})[0].startswith("INSERT INTO t DEFAULT VALUES")


def test_a_list_is_written_out_at_its_length(sqlite, postgres):
    def query(*ids):
        return sa.select(t.c.id).where(t.c.id.in_(ids), t.c.name == "Ada")

    assert prepared(sqlite, query(1, 2)) == (
        "SELECT t.id FROM t WHERE t.id IN (?, ?) AND t.name = ?",
        (1, 2, "Ada"),
    )
    assert prepared(sqlite, query(3)) == (
        "SELECT t.id FROM t WHERE t.id IN (?) AND t.name = ?",
        (3, "Ada"),
    )
    assert prepared(sqlite, query(*"abc"))[1] == ("a", "b", "c", "Ada")
    assert prepared(postgres, query(1, 2)) == (
        "SELECT t.id FROM t WHERE t.id IN ($2::INTEGER, $3::INTEGER) AND t.name = $1::VARCHAR",
        ("Ada", 1, 2),
    )


def test_an_empty_list_matches_nothing_and_has_no_values(compiler):
    sql, values = prepared(compiler, sa.select(t.c.id).where(t.c.id.in_([])))
    assert values == ()
    assert sql.replace(" ", "").endswith(("IN(NULL)AND(1!=1)", "IN(SELECT1FROM(SELECT1)WHERE1!=1)"))


def test_the_values_of_a_list_are_converted_like_others(sqlite):
    in_times, in_prices = t.c.made.in_([NOON]), t.c.price.in_([Decimal("1.5")])
    query = sa.select(t.c.id).where(in_times, in_prices)
    assert sqlite.prepare(query).arguments == ("2026-01-02T12:00:00.000000+00:00", "1.5")


def test_none_is_a_value(compiler):
    def arguments(statement, parameters=None):
        return compiler.prepare(statement, parameters).arguments

    assert arguments(sa.insert(t).values(name=None, tags=None)) == (None, None)
    assert arguments(sa.insert(t).values(name="Ada", tags=[])) == ("Ada", "[]")
    assert arguments(sa.insert(t), {"name": None, "tags": None}) == (None, None)
    assert arguments(sa.update(t), {"made": None, "price": None}) == (None, None)


def test_none_in_a_comparison_is_another_shape(compiler):
    def query(name):
        return sa.select(t.c.id).where(t.c.name == name)

    assert compiler.prepare(query("Ada")).arguments == ("Ada",)
    assert prepared(compiler, query(None)) == ("SELECT t.id FROM t WHERE t.name IS NULL", ())
    assert compiler.prepare(query("Eva")).arguments == ("Eva",)


@pytest.mark.parametrize(
    "statement",
    [
        sa.text("SELECT '100%' LIKE '100%'"),
        sa.select(sa.literal_column("'100%' LIKE '100%'")),
        sa.select(sa.text("'100%' LIKE '100%'")),
    ],
    ids=["text", "column", "text in a query"],
)
def test_a_literal_percent_sign_is_left_alone(compiler, statement):
    assert prepared(compiler, statement) == ("SELECT '100%' LIKE '100%'", ())


def test_the_operator_that_is_a_percent_sign_is_written_once(sqlite, postgres):
    query = sa.select(t.c.id % 3)
    assert prepared(sqlite, query) == ("SELECT t.id % ? AS anon_1 FROM t", (3,))
    assert prepared(postgres, query) == ("SELECT t.id % $1::INTEGER AS anon_1 FROM t", (3,))


def test_a_value_can_be_written_into_the_sql_with_its_quotes_and_backslashes(compiler):
    for value in ("a\\b", "it's"):
        query = sa.select(sa.literal(value, literal_execute=True).label("x"))
        quoted = value.replace("'", "''")
        assert prepared(compiler, query) == (f"SELECT '{quoted}' AS x", ())


def test_a_literal_in_the_sql_of_a_statement_that_is_used_again_stays(sqlite, postgres):
    query = sa.select(
        sa.literal("it's", literal_execute=True).label("x"),
        sa.bindparam("a"),
        sa.literal(7).label("y"),
        sa.bindparam("b"),
    )
    for a, b in ((1, 2), (3, 4)):
        assert prepared(sqlite, query, {"a": a, "b": b}) == (
            "SELECT 'it''s' AS x, ? AS anon_1, ? AS y, ? AS anon_2",
            (a, 7, b),
        )
        sql, values = prepared(postgres, query, {"b": b, "a": a})
        assert sql.count("'it''s'") == 1
        assert values == (a, 7, b)


def test_a_parameter_that_is_written_into_the_sql_is_that_of_each_use(sqlite):
    query = sa.select(sa.bindparam("a", literal_execute=True, type_=sa.Integer).label("x"))
    assert [prepared(sqlite, query, {"a": a}) for a in (1, 2)] == [
        ("SELECT 1 AS x", ()),
        ("SELECT 2 AS x", ()),
    ]


def test_text_takes_named_values(sqlite, postgres):
    query = sa.text("SELECT :a, :b, :a")
    assert prepared(sqlite, query, {"a": 1, "b": 2}) == ("SELECT ?, ?, ?", (1, 2, 1))
    assert prepared(postgres, query, {"a": 1, "b": 2}) == ("SELECT $1, $2, $1", (1, 2))
    assert sqlite.prepare(query.bindparams(a=3, b=4)).arguments == (3, 4, 3)


def test_a_value_that_is_missing_is_an_error(compiler):
    with pytest.raises(
        sa.exc.InvalidRequestError, match="A value is required for bind parameter 'person'"
    ):
        compiler.prepare(sa.select(t.c.id).where(t.c.name == sa.bindparam("person")))


def test_whether_there_will_be_rows_is_known_but_for_text(compiler):
    assert compiler.prepare(sa.select(t)).returns_rows is True
    insert = sa.insert(t).values(name="Ada")
    assert compiler.prepare(insert.returning(t.c.id)).returns_rows is True
    assert compiler.prepare(sa.delete(t)).returns_rows is False
    assert compiler.prepare(sa.text("SELECT 1")).returns_rows is None
    assert compiler.prepare(CreateTable(t)).returns_rows is False


def test_rows_are_named_and_their_values_converted(sqlite):
    columns = sqlite.prepare(sa.select(t)).columns
    row = columns.row([], [1, "Ada", '["a"]', 1.5, "2026-01-02T12:00:00.000000+00:00"])
    values = {"id": 1, "name": "Ada", "tags": ["a"], "price": Decimal("1.50"), "made": NOON}
    assert row == values
    empty = columns.row([], [1, None, None, None, None])
    assert empty == dict.fromkeys(values) | {"id": 1}


def test_rows_of_text_are_named_by_the_driver(compiler):
    assert compiler.prepare(sa.text("SELECT 1 AS a")).columns.row(["a"], [1]) == {"a": 1}


def test_many_rows_are_bound_to_one_statement(sqlite, postgres):
    rows = [{"id": 1, "made": NOON}, {"made": None, "id": 2}]
    sql, values = sqlite.prepare_many(sa.insert(t), rows)
    assert sql == "INSERT INTO t (id, made) VALUES (?, ?)"
    assert values == [(1, "2026-01-02T12:00:00.000000+00:00"), (2, None)]
    assert postgres.prepare_many(sa.insert(t), rows)[1] == [(1, NOON), (2, None)]


def test_what_is_used_least_is_forgotten_first(sqlite):
    def query(number):
        return sa.select(sa.literal(1).label(f"c{number}"))

    first, second = sqlite.prepare(query(0)).sql, sqlite.prepare(query(1)).sql
    for number in range(2, KEPT):
        sqlite.prepare(query(number))
    assert sqlite.prepare(query(0)).sql is first
    sqlite.prepare(query(KEPT))
    assert sqlite.prepare(query(0)).sql is first
    assert sqlite.prepare(query(1)).sql is not second


def test_a_statement_that_nobody_uses_any_more_is_not_kept_forever(sqlite):
    statement = sa.text("SELECT :a AS nothing")
    sqlite.prepare(statement, {"a": 1})
    reference = weakref.ref(statement)
    del statement
    for number in range(KEPT):
        sqlite.prepare(sa.text(f"SELECT :a AS c{number}"), {"a": 1})
    gc.collect()
    assert reference() is None
