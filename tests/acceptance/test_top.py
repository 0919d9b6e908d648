"""What an operator sees of running programs: relays and who leads, owners, rates, retries."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.conftest import Shop
from tests.acceptance.programs import Program
from tests.support import eventually


async def command(shop: Shop, *words: str) -> dict[str, Any]:
    """Return the answer of an operator's command, which has Redis alone."""
    where = ("--broker", shop.environment["SHOP_BROKER"])
    where += ("--prefix", shop.environment["SHOP_PREFIX"])
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "edgy_bus", *words, *where, "--json"],
        cwd="/",
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["exit"] == done.returncode
    data: dict[str, Any] = answer["data"]
    return data


async def relays(shop: Shop) -> dict[int, bool]:
    """Return which processes are relays, and whether they lead."""
    view = await command(shop, "status")
    return {each["process"]: each["leads"] for each in view["relays"]}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@asynccontextmanager
async def writing(shop: Shop) -> AsyncIterator[None]:
    """Write orders all the time."""

    async def write() -> None:
        while True:
            await shop.Order.query.create()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def only_group(shop: Shop, *words: str) -> dict[str, Any]:
    groups: list[dict[str, Any]] = (await command(shop, *words))["groups"]
    (group,) = groups
    return group


async def test_another_relay_is_seen_to_lead_when_the_leader_is_killed(shop: Shop) -> None:
    with shop.program("relay", "shop:bus") as first:
        one = first.process.pid

        async def leads() -> bool:
            return await relays(shop) == {one: True}

        await eventually(leads, "the first relay leads")
        with shop.program("relay", "shop:bus") as second:
            two = second.process.pid

            async def stands_by() -> bool:
                return await relays(shop) == {one: True, two: False}

            await eventually(stands_by, "the second relay stands by")
            leader, standby = (await command(shop, "status"))["relays"]
            assert leader["service"] == standby["service"] == "shop"
            assert leader["outbox"] == standby["outbox"]
            assert moment(leader["since"]) < moment(standby["since"])
            killed_at = datetime.now(UTC)
            first.kill()

            async def succeeds() -> bool:
                return await relays(shop) == {two: True}

            await eventually(succeeds, "the second relay leads")
            (leader,) = (await command(shop, "status"))["relays"]
            # By the clock of Redis, which may differ a little from the clock of this machine.
            assert moment(leader["since"]) > killed_at - timedelta(seconds=1)
            assert second.terminate() == 0
            assert await relays(shop) == {}, "a relay that ends in order is seen no more"


@contextmanager
def running(shop: Shop) -> Iterator[Program]:
    with shop.program("relay", "shop:bus"), shop.program("worker", "shop:mail") as worker:
        yield worker


async def test_top_shows_how_fast_events_come_and_go(shop: Shop) -> None:
    with running(shop):
        async with writing(shop):
            await shop.all_sent(20)

            async def flows() -> bool:
                view = await command(shop, "top")
                (group,) = view["groups"]
                (receiver,) = group["receivers"]
                # Redis before 7.0 does not count what groups have read; workers report as well.
                rates = [group["arriving"], group["finishing"], receiver["handling"]]
                return all(rate > 0 for rate in rates if rate is not None) and rates[2] is not None

            await eventually(flows, "rates above zero")
        view = await command(shop, "top")
        (group,) = view["groups"]
        (receiver,) = group["receivers"]
        assert (group["name"], group["state"], group["owners"]) == ("mail", "running", 1)
        assert (receiver["name"], receiver["state"], receiver["workers"]) == ("send", "running", 1)
        assert 0.9 < view["seconds"] < 30

        group = await only_group(shop, "status")
        (worker,) = group["workers"]
        first, last = (moment(group["since"][worker][each]) for each in ("first", "last"))
        assert datetime.now(UTC) - timedelta(minutes=5) < first <= last < datetime.now(UTC)
