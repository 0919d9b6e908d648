"""Errors as text for logs and dead letters: bounded, and without values of rows."""

import pytest
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import StatementError

from edgy_bus.reasons import describe, misfit, trace_of
from edgy_bus.retrying import dead_letter

PLANTED = "planted@example.com"


class Contract(BaseModel):
    settings: dict[str, int]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.fixture
def refused() -> ValidationError:
    with pytest.raises(ValidationError, match=PLANTED) as caught:
        Contract.model_validate({"settings": {PLANTED: PLANTED}})
    return caught.value


def test_an_error_of_pydantic_shows_no_value(refused: ValidationError) -> None:
    assert misfit(refused) == "settings (int_parsing)"
    assert describe(refused) == "ValidationError: Contract: settings (int_parsing)"
    assert dead_letter(refused).reason == describe(refused)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Unprintable(), "Unprintable: (its text cannot be made)"),
    ],
)
def test_an_error_is_its_type_and_its_text(error: BaseException, text: str) -> None:
    assert describe(error) == text
    assert dead_letter(error).reason == text


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\n" * 5_000, "é" * 5_000])
def test_the_text_of_an_error_is_bounded(text: str) -> None:
    assert len(describe(ValueError(text))) == len(dead_letter(ValueError(text)).reason) == 2_000


# Errors of any kind


class Hostile(Exception):
    """Answers nothing as an error does."""

    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __repr__(self) -> str:
        raise SystemExit

    @property
    def __cause__(self) -> object:
        raise LookupError

    @property
    def __notes__(self) -> object:
        raise LookupError


class NamelessType(type):
    @property
    def __name__(cls) -> str:
        raise LookupError


class Nameless(Exception, metaclass=NamelessType):
    pass


class Members(ExceptionGroup):
    """Answers other errors than those that it was made with."""

    @property
    def exceptions(self) -> object:
        raise LookupError


class Text(str):
    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        raise LookupError


class TextOfItsOwn(Exception):
    def __str__(self) -> str:
        return Text("x" * 5_000)


def nested(depth: int) -> BaseException:
    error: BaseException = ValueError("the innermost")
    for _ in range(depth):
        error = BaseExceptionGroup("a group", [error])
    return error


def chained(links: int) -> BaseException:
    error = ValueError("the first")
    for number in range(links):
        later = ValueError(f"link {number}")
        later.__cause__, error = error, later
    return error


def in_a_circle() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    return first


def wide() -> BaseException:
    inner = [ExceptionGroup("inner", [chained(100) for _ in range(50)]) for _ in range(50)]
    return ExceptionGroup("wide", inner)


MADE = {
    "hostile": Hostile,
    "nameless": lambda: Nameless("text"),
    "members": lambda: Members("m", [ValueError()]),
    "text": TextOfItsOwn,
    "nested": lambda: nested(5_000),
    "chained": lambda: chained(5_000),
    "circle": in_a_circle,
    "wide": wide,
    "without a text": ValueError,
    "surrogates": lambda: ValueError("\ud800 \x1b[2J \x00"),
    "syntax": lambda: SyntaxError("no", ("f", 1, 2, "text")),
    "bytes": lambda: OSError(b"\xff", b"\xff"),
}


@pytest.mark.parametrize("kind", MADE)
def test_any_error_is_described_in_bounded_length(kind: str) -> None:
    error = MADE[kind]()
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - as receivers raise
        text, trace = describe(caught), trace_of(caught)
    assert 0 < len(text) <= 2_000
    assert 0 < len(trace) <= 15_000
    assert all(line.isprintable() for line in trace.splitlines())
    assert all(line.startswith("  ") for line in trace.splitlines())


def test_a_group_names_the_errors_inside() -> None:
    group = ExceptionGroup("many", [ValueError("one"), nested(2), LookupError("three")])
    text = describe(group)
    assert text == (
        "ExceptionGroup: many (3 sub-exceptions): ValueError: one; "
        "ValueError: the innermost; LookupError: three"
    )


def deep(levels: int) -> None:
    secret = PLANTED
    if levels:
        deep(levels - 1)
    raise LookupError(len(secret))


def test_a_traceback_shows_lines_and_causes_and_no_values() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            deep(0)
        except LookupError as error:
            raise RuntimeError("outer") from error
    trace = trace_of(caught.value)
    assert "test_reasons.py" in trace
    assert "raise LookupError(len(secret))" in trace
    assert trace.index("LookupError: ") < trace.index("RuntimeError: outer")
    assert PLANTED not in trace


def test_a_traceback_of_a_deep_recursion_shows_its_ends() -> None:
    with pytest.raises(LookupError) as caught:
        deep(500)
    trace = trace_of(caught.value)
    assert "more calls" in trace
    assert len(trace) < 5_000


def test_a_traceback_shows_the_errors_of_a_group_in_full() -> None:
    errors: list[Exception] = []
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            deep(1)
        errors.append(caught.value)
    trace = trace_of(ExceptionGroup("many", errors))
    assert trace.count("in deep") == 4
    assert "error 2 of the group" in trace


def test_errors_of_databases_show_no_values() -> None:
    class DriverError(Exception):
        sqlstate = "23505"

    raw = DriverError(f"duplicate key\nDETAIL: Key (email)=({PLANTED}) already exists.")
    statement = StatementError("refused", "INSERT", {"email": PLANTED}, raw)
    assert PLANTED in str(raw)
    assert PLANTED in str(statement)
    for error in (raw, statement, ExceptionGroup("many", [raw, statement])):
        assert PLANTED not in describe(error)
        assert PLANTED not in trace_of(error)
