"""Errors of asyncpg: their translation, and the removal of values of rows."""

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.database.backends.postgres_errors import translate
from edgy_bus.errors import (
    DatabaseError,
    DatabaseLocked,
    DatabaseUnavailable,
    IntegrityError,
    TryAgain,
)


def server_error(code: str, message: str, **fields: str) -> asyncpg.PostgresError:
    """Make an error as asyncpg makes it from the answer of a server."""
    names = {"detail": "D", "context": "W", "internal_query": "q", "table": "t", "column": "c"}
    answer = {"C": code, "M": message} | {names[name]: text for name, text in fields.items()}
    error: asyncpg.PostgresError = asyncpg.PostgresError.new(answer)
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("40001", TryAgain),
        ("40P01", TryAgain),
        ("55P03", DatabaseLocked),
        ("23505", IntegrityError),
        ("23P01", IntegrityError),
        ("22003", DatabaseError),
        ("42P01", DatabaseError),
        ("57P01", DatabaseUnavailable),
        ("53300", DatabaseUnavailable),
        ("08006", DatabaseUnavailable),
    ],
)
def test_a_code_of_the_server_has_its_class(code: str, kind: type[DatabaseError]) -> None:
    assert type(translate(server_error(code, "message"))) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), DatabaseUnavailable),
        (ConnectionResetError(), DatabaseUnavailable),
        (asyncpg.InterfaceError("connection is closed"), DatabaseUnavailable),
        (asyncpg.InterfaceError("another operation is in progress"), DatabaseError),
        (ValueError("ours"), type(None)),
    ],
)
def test_an_error_of_the_driver_has_its_class(error: Exception, kind: type[object]) -> None:
    assert type(translate(error)) is kind


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        ("26000", 'prepared statement "s1" does not exist', "pgbouncer=true"),
        ("42P05", 'prepared statement "s1" already exists', "pgbouncer=true"),
        ("08P01", "unsupported startup parameter: search_path", "ALTER ROLE"),
    ],
)
def test_an_error_that_a_pooler_causes_names_the_remedy(
    code: str, message: str, remedy: str
) -> None:
    translated = translate(server_error(code, message))
    assert type(translated) is DatabaseError
    assert message in str(translated)
    assert remedy in str(translated)


def test_a_lock_is_temporary_and_says_try_again() -> None:
    locked = translate(server_error("55P03", "canceling statement due to lock timeout"))
    assert isinstance(locked, TryAgain)
    assert isinstance(locked, DatabaseUnavailable)


values = st.text(min_size=1).map(lambda text: f"<{text}>")


@given(values, st.sampled_from(["23505", "23514", "22P02", "22003", "40001", "P0001"]))
def test_details_of_a_row_are_in_neither_error(value: str, code: str) -> None:
    error = server_error(
        code, "refused", detail=f"Key (a)=({value})", context=value, internal_query=value
    )
    translated = translate(error)
    assert value not in str(translated)
    assert value not in str(error)
    assert value not in repr(error.as_dict())


@given(
    values,
    st.sampled_from(
        [
            'invalid input syntax for type integer: "{}"',
            'value "{}" is out of range for type integer',
            "invalid input for query argument $1: {} (expected str, got int)",
        ]
    ),
)
def test_a_refused_value_is_in_neither_error(value: str, message: str) -> None:
    cause = ValueError(value)
    error = server_error("22P02", message.format(value))
    error.__cause__ = cause
    translated = translate(error)
    assert value not in str(translated)
    assert value not in str(error)
    assert value not in repr(error.as_dict())
    assert error.__cause__ is None
