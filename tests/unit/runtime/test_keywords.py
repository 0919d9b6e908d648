"""The keywords that a worker makes from an event, with the types of the model's fields."""

import datetime as dt
import decimal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.errors import ContractError
from edgy_bus.retrying import Bury
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.keywords import keywords_of
from edgy_bus.runtime.subscriptions import Subscription
from tests.unit.runtime.support import envelope, subscribe

PLANTED = "planted@example.com"


class Price(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    amount: decimal.Decimal | None = edgy.DecimalField(max_digits=8, decimal_places=2, null=True)
    day: dt.date | None = edgy.DateField(null=True)
    name: str | None = edgy.CharField(max_length=50, null=True)
    settings: Any = edgy.JSONField(default=dict)


def read(row: Mapping[str, Any] | None) -> Any:
    return None if row is None else Price.from_snapshot(row)


async def nothing(sender: Any, **kwargs: Any) -> None: ...


@pytest.fixture
def of_class() -> Subscription:
    return replace(subscribe(nothing, "post_update"), read=read, typed=True)


def given(subscription: Subscription, **data: Any) -> dict[str, Any]:
    event = envelope(signal="post_update", **data).open()
    return keywords_of(subscription, event, subscription.read(event.data["instance"]))


ROW = {"id": 1, "amount": "2.50", "day": None, "name": "a", "settings": {"x": 1}}


@pytest.mark.parametrize(
    ("changes", "typed"),
    [
        (
            {"amount": {"old": "1.00", "new": "2.50"}},
            {"amount": {"old": decimal.Decimal("1.00"), "new": decimal.Decimal("2.50")}},
        ),
        (
            {"day": {"old": "2026-11-27", "new": None}},
            {"day": {"old": dt.date(2026, 11, 27), "new": None}},
        ),
        ({"amount": {"new": "2.50"}}, {"amount": {"new": decimal.Decimal("2.50")}}),
        ({"name": {"old": None, "new": "a"}}, {"name": {"old": None, "new": "a"}}),
        (
            {"settings": {"old": {"y": 2}, "new": {"x": 1}}},
            {"settings": {"old": {"y": 2}, "new": {"x": 1}}},
        ),
        ({}, {}),
        (None, None),
    ],
)
def test_changes_have_the_types_of_the_fields(
    of_class: Subscription, changes: Any, typed: Any
) -> None:
    assert given(of_class, instance=ROW, changes=changes)["changes"] == typed
    by_name = subscribe(nothing, "post_update")
    assert given(by_name, instance=ROW, changes=changes)["changes"] == changes


def test_values_have_the_types_of_the_fields(of_class: Subscription) -> None:
    values = given(of_class, instance=ROW, assigned=["amount", "day"])["values"]
    assert values == {"amount": decimal.Decimal("2.50"), "day": None}
    values = given(of_class, instance=None, values={"amount": "3.00"})["values"]
    assert values == {"amount": decimal.Decimal("3.00")}


@pytest.mark.parametrize("signal", ["post_save", "post_update"])
@pytest.mark.parametrize("typed", [False, True])
def test_a_field_that_the_event_leaves_out_has_no_value(
    of_class: Subscription, signal: str, typed: bool
) -> None:
    chosen = replace(of_class, typed=typed, read=read)
    partial = {"id": 1, "name": "a"}
    event = envelope(signal=signal, instance=partial, assigned=["name", "settings"]).open()
    keywords = keywords_of(chosen, event, chosen.read(partial))
    assert keywords["values"] == (partial if signal == "post_save" else {"name": "a"})


def test_a_field_that_the_model_does_not_have_keeps_its_json(of_class: Subscription) -> None:
    """The publisher may be of a later release."""
    row = {**ROW, "colour": "red"}
    changes = {"colour": {"old": None, "new": "red"}, "amount": {"old": "1.00", "new": "2.50"}}
    keywords = given(of_class, instance=row, changes=changes, assigned=["colour", "amount"])
    assert keywords["changes"]["colour"] == {"old": None, "new": "red"}
    assert keywords["values"] == {"colour": "red", "amount": decimal.Decimal("2.50")}


async def test_an_old_value_that_does_not_fit_is_given_up_and_not_shown(
    of_class: Subscription,
) -> None:
    changes = {"amount": {"old": PLANTED, "new": "2.50"}}
    with pytest.raises(ContractError) as caught:
        given(of_class, instance=ROW, changes=changes)
    assert str(caught.value) == "a value does not fit accounts.User: amount (decimal_parsing)"
    assert caught.value.__cause__ is None
    made = envelope(signal="post_update", instance=ROW, changes=changes)
    assert await execute(of_class, made, 5) == Bury(str(caught.value))
