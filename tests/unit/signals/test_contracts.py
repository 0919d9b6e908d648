"""Rows that do not fit a schema: the text names fields and rules, and no values."""

import datetime as dt
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from edgy_bus.errors import ContractError, EdgyBusError
from edgy_bus.signals import read_by

PLANTED = "planted@example.com"


class Contract(BaseModel):
    id: int
    email: str = ""
    at: dt.datetime | None = None
    settings: dict[str, int] = {}

    @field_validator("email")
    @classmethod
    def refuse(cls, value: str) -> str:
        if value.startswith("key"):
            raise KeyError(value)
        if "@" in value:
            raise ValueError(f"{value} is refused")
        return value


def test_a_row_that_fits_is_an_instance() -> None:
    read = read_by(Contract, {"id": "1", "at": "2026-11-27T00:00:00Z", "more": 5})
    assert (read.id, read.at) == (1, dt.datetime(2026, 11, 27, tzinfo=dt.UTC))


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"id": PLANTED}, "id (int_parsing)"),
        ({}, "id (missing)"),
        ({"id": 1, "email": PLANTED}, "email (value_error)"),
        ({"id": 1, "email": f"key {PLANTED}"}, "KeyError"),
        ({"id": 1, "settings": {PLANTED: "x"}}, "settings (int_parsing)"),
        ({"id": "x", "at": "y"}, "id (int_parsing), at (datetime_from_date_parsing)"),
        ([PLANTED], "(model_type)"),
    ],
)
def test_a_row_that_does_not_fit_shows_no_value(row: Any, text: str) -> None:
    with pytest.raises(ContractError) as caught:
        read_by(Contract, row)
    error = caught.value
    assert isinstance(error, EdgyBusError)
    assert str(error).startswith("the row does not fit Contract: ")
    assert text in str(error)
    assert PLANTED not in str(error)
    # A traceback shows causes, and the context of an error unless that is suppressed.
    assert error.__cause__ is None
    assert error.__suppress_context__
