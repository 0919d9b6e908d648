"""Conversions: JSON of any type in one form for equal values, and errors without values."""

import enum
from typing import Any

import pydantic
import pytest

from edgy_bus.database import Conversion
from edgy_bus.errors import DatabaseError, OperationError
from edgy_bus.models.conversions import NotJson, adapter_of, conversion_of, json_value


class Tagged(pydantic.BaseModel):
    tags: frozenset[int]


class Color(enum.Enum):
    RED = "red"


def conversion(annotation: Any, natural: type = object) -> Conversion:
    adapter = adapter_of(annotation, [], "Item.value")
    made = conversion_of(annotation, natural, adapter, "Item.value")
    assert made is not None
    return made


def load(made: Conversion, stored: object) -> Any:
    assert made.load is not None
    return made.load(stored)


@pytest.mark.parametrize(
    ("annotation", "make"),
    [
        (set[int], set),
        (frozenset[int], frozenset),
        (list[set[int]], lambda numbers: [set(numbers)]),
        (dict[int, set[int]], lambda numbers: {1: set(numbers)}),
        (Tagged, lambda numbers: Tagged(tags=frozenset(numbers))),
        (dict[str, list[Tagged]], lambda numbers: {"a": [Tagged(tags=frozenset(numbers))]}),
    ],
)
def test_equal_sets_are_equal_in_json(annotation: Any, make: Any) -> None:
    # Both numbers have the same place in the hash table, so the first one comes first.
    assert list({8, 0}) != list({0, 8})
    made = conversion(annotation)
    value, same = make([0, 8]), make([8, 0])
    assert made.dump(value) == made.dump(same)
    assert load(made, made.dump(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"x",
        {1: "a"},
        float("nan"),
        float("inf"),
        2**64 + 1,
        10**400,
        "\ud800",
        {"a": {1}},
    ],
)
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(NotJson):
        json_value(value)
    with pytest.raises(OperationError, match=r"Item\.value cannot be written as JSON"):
        conversion(Any).dump([value])


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, (2,)), [1, [2]]),
        ({"b": 1, "a": Color.RED}, {"a": "red", "b": 1}),
        (10**22, 1e22),
        (2**64 - 1, 2**64 - 1),
        ([True, 1, 1.0, None, ""], [True, 1, 1.0, None, ""]),
    ],
)
def test_json_is_returned_as_json_returns_it(value: object, stored: object) -> None:
    written = json_value(value)
    assert repr(written) == repr(stored)


def test_a_stored_value_of_another_type_is_an_error_without_the_value() -> None:
    for made, stored in ((conversion(Color, str), "hush"), (conversion(Tagged), {"tags": "hush"})):
        with pytest.raises(DatabaseError, match=r"Item\.value: a stored value is not of") as caught:
            load(made, stored)
        assert "hush" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_given_value_of_another_type_is_an_error_without_the_value() -> None:
    for made in (conversion(Color, str), conversion(Tagged)):
        with pytest.raises(OperationError, match=r"Item\.value: a value of str") as caught:
            made.dump("hush")
        assert "hush" not in str(caught.value)
