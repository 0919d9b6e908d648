"""Held rows: what the view contains, and what a decision does."""

from dataclasses import FrozenInstanceError

import pytest

from edgy_bus.brokers.base import HeldState, RowKey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.events import Partition
from edgy_bus.operations import Held, HeldRow, held, release
from tests.support import PARTITION, hold

TEAMS = Partition("accounts.Team", "0")


@pytest.fixture
async def broker() -> MemoryBroker:
    broker = MemoryBroker()
    await hold(broker, "1", reason="no such user")
    await hold(broker, "2", receiver="app.search", reason="away")
    await hold(broker, "1", partition=TEAMS)
    await hold(broker, "1", partition=TEAMS, group="audit")
    return broker


async def test_the_view_contains_the_rows_of_a_group_with_their_reasons(
    broker: MemoryBroker,
) -> None:
    view = await held(broker, "mail")
    assert view == Held(
        "mail",
        (
            HeldRow("mail", "accounts.User", "1", "app.mail", "no such user", "0"),
            HeldRow("mail", "accounts.User", "2", "app.search", "away", "0"),
            HeldRow("mail", "accounts.Team", "1", "app.mail", "no such user", "0"),
        ),
    )
    assert len((await held(broker, "audit")).rows) == 1
    assert await held(broker, "search") == Held("search", ())


async def test_a_view_is_a_value(broker: MemoryBroker) -> None:
    view = await held(broker, "mail")
    with pytest.raises(FrozenInstanceError):
        view.rows[0].reason = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ({}, 3),
        ({"model": "accounts.User"}, 2),
        ({"subject": "1"}, 2),
        ({"receiver": "app.mail"}, 2),
        ({"model": "accounts.User", "subject": "2", "receiver": "app.search"}, 1),
        ({"model": "accounts.User", "subject": "2", "receiver": "app.mail"}, 0),
    ],
)
async def test_rows_are_selected_by_every_given_name(
    broker: MemoryBroker, names: dict[str, str], count: int
) -> None:
    chosen = (await held(broker, "mail")).select(**names)
    assert chosen.group == "mail"
    assert len(chosen.rows) == count


async def test_releasing_lets_workers_handle_the_row_and_no_row_else(broker: MemoryBroker) -> None:
    view = (await held(broker, "mail")).select(model="accounts.User", subject="1")
    assert (await release(broker, view.rows)).rows == view.rows
    assert await broker.held(PARTITION, "mail") == {
        RowKey("app.mail", "1"): HeldState(retrying=True),
        RowKey("app.search", "2"): HeldState(),
    }
    assert await broker.held(TEAMS, "mail") == {RowKey("app.mail", "1"): HeldState()}
    assert await broker.dead_letters(PARTITION, "mail") == []
    (row,) = (await held(broker, "mail")).select(model="accounts.User", subject="1").rows
    assert row.released


async def test_skipping_moves_the_first_parked_event_to_the_dead_letters(
    broker: MemoryBroker,
) -> None:
    view = (await held(broker, "mail")).select(subject="2")
    await release(broker, view.rows, skip=True)
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert (letter.receiver, letter.reason) == ("app.search", "away")


async def test_a_row_that_waits_for_no_decision_is_not_released_again(broker: MemoryBroker) -> None:
    rows = (await held(broker, "mail")).rows
    stranger = HeldRow("mail", "accounts.User", "9", "app.mail", "", "0")
    assert (await release(broker, [rows[0], stranger])).rows == rows[:1]
    assert (await release(broker, rows)).rows == rows[1:]


async def test_a_row_is_released_in_its_partition_no_matter_how_many_there_are() -> None:
    broker, partition = MemoryBroker(), Partition("accounts.User", "5")
    await broker.declare("accounts.User", 8)
    await hold(broker, "1", partition=partition)
    (row,) = (await held(broker, "mail")).rows
    assert row.partition == "5"
    assert (await release(broker, [row])).rows == (row,)
