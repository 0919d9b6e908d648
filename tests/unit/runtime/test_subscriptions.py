"""Who hears of what."""

from typing import Any

import pytest

from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError
from edgy_bus.runtime.subscriptions import Snapshot, Subscriptions
from tests.unit.runtime.support import subscribe


async def hear(sender: Any, **kwargs: Any) -> None: ...


def test_subscriptions_are_found_by_model_and_signal_in_the_order_they_were_made() -> None:
    first, second, other = (
        subscribe(hear, name="b"),
        subscribe(hear, name="a"),
        subscribe(hear, "post_delete"),
    )
    found = Subscriptions("mail", [first, second, other])
    assert found.of("accounts.User", "post_save") == [first, second]
    assert found.of("accounts.User", "post_update") == []
    assert found.of("accounts.Team", "post_save") == []
    assert len(found) == 3


def test_only_the_groups_own_are_kept() -> None:
    assert len(Subscriptions("search", [subscribe(hear)])) == 0


def test_a_name_may_stand_once_for_an_event() -> None:
    with pytest.raises(ConfigurationError, match="have the name 'r'"):
        Subscriptions("mail", [subscribe(hear), subscribe(hear)])
    Subscriptions("mail", [subscribe(hear), subscribe(hear, "post_delete")])


def test_renamed_receivers_have_the_names_that_the_group_knows() -> None:
    both = [subscribe(hear, name="new"), subscribe(hear, "post_delete", name="new")]
    found = Subscriptions("mail", [*both, subscribe(hear, name="other")])
    known = found.known_by({"new": "old", "gone": "b"})
    assert [each.name for each in known.all] == ["old", "old", "other"]
    assert [each.receiver.name for each in known.all] == ["new", "new", "other"]
    assert [each.name for each in known.only("old").all] == ["old", "old"]


@pytest.mark.parametrize(
    "names", [{"new": "old"}, {"new": "older", "old": "older"}], ids=["the first", "another"]
)
def test_a_program_has_a_receiver_by_one_of_its_names(names: dict[str, str]) -> None:
    found = Subscriptions(
        "mail", [subscribe(hear, name="new"), subscribe(hear, "post_delete", name="old")]
    )
    with pytest.raises(ConfigurationError, match="are names of one receiver"):
        found.known_by(names)


def test_pre_signals_are_read_from_a_stream_of_their_own() -> None:
    found = Subscriptions("mail", [subscribe(hear, "pre_save"), subscribe(hear, "on_verify")])
    assert found.ordered_models == found.pre_models == ("accounts.User",)
    assert Subscriptions("mail", [subscribe(hear)]).pre_models == ()


def test_inboxes_are_listed_once() -> None:
    inbox: Any = Database("sqlite:///never.sqlite")
    subscriptions = [
        subscribe(hear, inbox=inbox),
        subscribe(hear, "post_delete", inbox=inbox),
        subscribe(hear, "x"),
    ]
    assert Subscriptions("mail", subscriptions).inboxes == (inbox,)


def test_a_row_has_its_fields_as_attributes_and_shows_no_values() -> None:
    row = Snapshot({"id": 1, "name": "Ada"})
    assert row.name == "Ada"
    assert repr(row) == "Snapshot(id, name)"
