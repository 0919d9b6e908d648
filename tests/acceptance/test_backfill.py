"""`edgy-bus backfill` from outside: a process that is interrupted, killed and resumed."""

import signal
from collections import Counter
from contextlib import chdir
from typing import Any

import pytest

from tests.acceptance.conftest import _loaded
from tests.acceptance.programs import PATIENCE, Program
from tests.acceptance.test_operations import ORDERS, Site, programs, site
from tests.support import eventually

__all__ = ["programs", "site"]

BUS = "incident:bus"
TO = ("--to", "shop/ship")
SLOW = ("--rate", "0.1", "--page", "1")
"""A row, and then nothing for ten seconds: the signals come long before the last row."""


@pytest.fixture
async def orders(site: Site, programs: list[Program]) -> list[Any]:
    """Orders that the receiver has handled once."""
    with chdir(site.folder):
        module = _loaded(site.folder / "incident.py")
        async with module.bus:
            orders = [await module.Order.query.create() for _ in range(ORDERS)]
        await eventually(lambda: len(site.handled()) == ORDERS, "the live events")
    return orders


def unfinished(site: Site) -> list[Any]:
    status, answer = site.command("backfill", BUS, "--list", folder=site.folder)
    listed: list[Any] = answer["data"]["unfinished"]
    assert status == (1 if listed else 0)
    return listed


def recorded(site: Site) -> list[Any]:
    _, answer = site.command("actions", BUS, folder=site.folder)
    actions: list[Any] = answer["data"]["actions"]
    return actions


async def test_a_backfill_is_interrupted_terminated_killed_resumed_and_sends_every_row(
    site: Site, orders: list[Any], programs: list[Program]
) -> None:
    command = ("backfill", BUS, "Order", *TO)

    def sent() -> int:
        return sum(int(each["done"]) for each in unfinished(site))

    with site.start(*command, *SLOW, "--yes") as first:
        await eventually(lambda: sent() >= 1, "the first row")
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(PATIENCE) == 1
        assert f"continue with: edgy-bus backfill {BUS} shop.Order" in first.output
    (listed,) = unfinished(site)
    assert 1 <= listed["done"] < ORDERS
    assert site.command(*command, "--yes", folder=site.folder)[0] == 2, "it is unfinished"

    with site.start(*command, *SLOW, "--resume", "--yes") as second:
        await eventually(lambda: sent() > listed["done"], "the next row")
        assert second.terminate() == 1
        assert f"continue with: edgy-bus backfill {BUS} shop.Order" in second.output
    interrupted = [each["result"] for each in recorded(site)]
    assert interrupted == ["CancelledError: perhaps a part is done"] * 2
    terminated_at = sent()

    with site.start(*command, *SLOW, "--resume", "--yes") as third:
        await eventually(lambda: sent() > terminated_at, "the row after it")
        third.kill()
    killed_at = sent()
    status, answer = site.command(*command, "--resume", "--yes", folder=site.folder)
    assert (status, answer["data"]["done"]) == (0, ORDERS)
    assert answer["data"]["events"] == ORDERS - killed_at
    assert unfinished(site) == []
    await eventually(lambda: len(site.handled()) == 2 * ORDERS, "the rows that were sent again")
    assert Counter(key for key, _ in site.handled()) == {order.id: 2 for order in orders}
    assert [program.terminate() for program in programs] == [0, 0]


async def test_a_plan_is_shown_and_nothing_is_sent_before_an_operator_agrees(
    site: Site, orders: list[Any]
) -> None:
    where = ("--where", f"id__lte={orders[1].id}")
    status, answer = site.command(
        "backfill", BUS, "shop.Order", *TO, *where, "--dry-run", folder=site.folder
    )
    assert (status, answer["data"]["rows"], answer["data"]["done"]) == (0, 2, 0)
    assert len(answer["data"]["workers"]) == 1
    status, answer = site.command("backfill", BUS, "Order", *TO, *where, folder=site.folder)
    assert (status, answer["error"]) == (2, "to send 2 rows to shop/ship, add --yes")
    assert unfinished(site) == []
    status, answer = site.command(
        "backfill", BUS, "Order", *TO, "--where", "id=0", "--yes", folder=site.folder
    )
    assert (status, answer["data"]["rows"]) == (1, 0)
    assert len(site.handled()) == ORDERS
