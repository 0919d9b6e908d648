"""`edgy-bus replay` from outside: a process that is interrupted, killed and resumed."""

import signal
from collections import Counter
from typing import Any

from tests.acceptance.programs import PATIENCE, Program
from tests.acceptance.test_backfill import BUS, SLOW, TO, orders
from tests.acceptance.test_operations import ORDERS, Site, programs, site
from tests.support import eventually

__all__ = ["orders", "programs", "site"]

COMMAND = ("replay", BUS, *TO, "--model", "Order")


def unfinished(site: Site) -> list[Any]:
    status, answer = site.command("replay", BUS, "--list", folder=site.folder)
    listed: list[Any] = answer["data"]["unfinished"]
    assert status == (1 if listed else 0)
    return listed


async def test_a_replay_is_interrupted_killed_resumed_and_sends_every_event(
    site: Site, orders: list[Any], programs: list[Program]
) -> None:
    status, answer = site.command(*COMMAND, "--dry-run", folder=site.folder)
    assert (status, answer["data"]["events"], answer["data"]["ends_older"]) == (0, ORDERS, "")
    status, answer = site.command(*COMMAND, folder=site.folder)
    assert (status, answer["error"]) == (
        2,
        f"to send {ORDERS} events to shop/ship again, add --yes",
    )
    assert unfinished(site) == []

    def sent() -> int:
        return sum(int(each["done"]) for each in unfinished(site))

    with site.start(*COMMAND, *SLOW, "--yes") as first:
        await eventually(lambda: sent() >= 1, "the first event")
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(PATIENCE) == 1
        again = f"continue with: edgy-bus replay {BUS} --to shop/ship --model shop.Order --resume"
        assert again in first.output
    (listed,) = unfinished(site)
    assert 1 <= listed["done"] < ORDERS
    assert site.command(*COMMAND, "--yes", folder=site.folder)[0] == 2, "it is unfinished"

    with site.start(*COMMAND, *SLOW, "--resume", "--yes") as second:
        await eventually(lambda: sent() > listed["done"], "the next event")
        second.kill()
    killed_at = sent()
    status, answer = site.command(*COMMAND, "--resume", "--yes", folder=site.folder)
    assert (status, answer["data"]["done"]) == (0, ORDERS)
    assert answer["data"]["events"] == ORDERS - killed_at
    assert unfinished(site) == []
    await eventually(lambda: len(site.handled()) == 2 * ORDERS, "the events that were sent again")
    assert Counter(key for key, _ in site.handled()) == {order.id: 2 for order in orders}
    assert [program.terminate() for program in programs] == [0, 0]
