"""The computation of `changes` from the change of a row."""

import enum
from decimal import Decimal
from typing import Any

import pytest

from edgy_bus.sources import RowChange, changes_of
from edgy_bus.sources.changes import differ


class Size(enum.Enum):
    SMALL = "s"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, 1, False),
        (1, 2, True),
        (None, None, False),
        (None, 0, True),
        ("", None, True),
        (Decimal("1.50"), Decimal("1.5"), False),
        (Size.SMALL, Size.SMALL, False),
        (b"", b"", False),
        (0.0, -0.0, False),
        (True, 1, True),
        (False, 0, True),
        (1, 1.0, False),
        ({"a": [1, {"b": True}]}, {"a": [1, {"b": True}]}, False),
        ({"a": [1, {"b": True}]}, {"a": [1, {"b": 1}]}, True),
        ([1, True], [1.0, True], False),
        ([0], [False], True),
        ({}, [], True),
    ],
)
def test_values_differ_as_their_json_does(old: Any, new: Any, expected: bool) -> None:
    assert differ(old, new) is differ(new, old) is expected


def test_changes_name_public_fields_that_were_assigned_and_differ() -> None:
    row = {"id": 1, "name": "b", "age": 3, "password": "new"}
    old = {"name": "a", "age": 3, "password": "old"}
    public = ("id", "name", "age")
    change = RowChange(1, row, old, ("name", "age", "password"))
    assert changes_of(change, public) == {"name": {"old": "a", "new": "b"}}


def test_a_value_that_nobody_knows_is_missing() -> None:
    change = RowChange(1, {"name": "b", "age": 3}, {"age": 2}, ("name", "age"))
    expected = {"name": {"new": "b"}, "age": {"old": 2, "new": 3}}
    assert changes_of(change, ("name", "age")) == expected


def test_without_names_all_public_fields_were_assigned() -> None:
    change = RowChange(1, {"id": 1, "name": "b"}, {"id": 1})
    assert changes_of(change, ("id", "name")) == {"name": {"new": "b"}}


def test_a_row_that_was_not_updated_has_no_changes() -> None:
    change = RowChange(1, {"name": "b"})
    assert not change.is_update
    assert changes_of(change, ("name",)) is None
