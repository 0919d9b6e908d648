"""Conditions of rows, as an operator writes them."""

import pytest

from edgy_bus.errors import ConfigurationError
from edgy_bus.operations.filters import fields_of, lookups_of


def test_conditions_are_lookups_whose_values_the_fields_convert() -> None:
    conditions = (
        "status=paid",
        "name=a=b",
        "note=",
        "id__in=1,2",
        "age__range=1,9",
        "email__isnull=false",
        "plugin=a,b",
    )
    assert lookups_of(conditions) == {
        "status": "paid",
        "name": "a=b",
        "note": "",
        "id__in": ["1", "2"],
        "age__range": ["1", "9"],
        "email__isnull": False,
        "plugin": "a,b",
    }
    assert fields_of(conditions)[:3] == ["status", "name", "note"]


@pytest.mark.parametrize(
    ("conditions", "text"),
    [
        (["status"], "'status' is no condition"),
        (["=paid"], "'' is no condition"),
        (["a=1", "a=2"], "'a' comes twice"),
        (["a__isnull=yes"], "a__isnull is either true or false"),
    ],
)
def test_a_text_that_is_no_condition_is_named(conditions: list[str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        lookups_of(conditions)
