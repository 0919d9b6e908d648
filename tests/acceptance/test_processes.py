"""Run the commands as processes.

A saved model reaches the receivers of another process, no matter which process stops or crashes.
"""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
import redis

from edgy_bus.testing.servers import Server
from tests.acceptance.conftest import Shop
from tests.acceptance.programs import program
from tests.proxy import Proxy
from tests.support import eventually


async def orders(shop: Shop, count: int) -> list[tuple[int, int]]:
    """Orders, each changed twice; the effects that there must be, order by order."""
    made: list[tuple[int, int]] = []
    for _ in range(count):
        order = await shop.Order.query.create()
        for state in (1, 2):
            await order.update(state=state)
        made += [(order.id, state) for state in range(3)]
    return made


async def test_an_order_saved_here_is_heard_of_there(shop: Shop) -> None:
    with shop.program("relay", "shop:bus") as relay, shop.program("worker", "shop:mail") as worker:
        expected = await orders(shop, 10)
        await shop.all_sent(len(expected))
        assert relay.terminate() == 0
        assert worker.terminate() == 0
    assert sorted(await shop.sent()) == expected
    assert "worker.stopped" in worker.output


async def test_a_worker_that_is_killed_loses_and_doubles_nothing(shop: Shop) -> None:
    with shop.program("relay", "shop:bus"), shop.program("worker", "shop:mail") as victim:
        expected = await orders(shop, 10)
        await shop.all_sent(3)
        with shop.program("worker", "shop:mail"):
            victim.kill()
            expected += await orders(shop, 10)
            await shop.all_sent(len(expected))
            await asyncio.sleep(0.5)  # an effect too many would come now
    effects = await shop.sent()
    assert sorted(effects) == expected
    for order in {order for order, _ in effects}:
        assert [state for one, state in effects if one == order] == [0, 1, 2]


async def test_a_relay_that_is_killed_loses_and_doubles_nothing(shop: Shop) -> None:
    with shop.program("worker", "shop:mail"):
        with shop.program("relay", "shop:bus") as victim:
            expected = await orders(shop, 10)
            await shop.all_sent(1)
            victim.kill()
        expected += await orders(shop, 10)
        with shop.program("relay", "shop:bus"):
            await shop.all_sent(len(expected))
    assert sorted(await shop.sent()) == expected


async def test_a_worker_that_is_told_to_end_finishes_what_runs(shop: Shop) -> None:
    with (
        shop.program("relay", "shop:bus"),
        shop.program("worker", "shop:mail", SHOP_SLOW="1") as worker,
    ):
        await shop.Order.query.create()
        await asyncio.to_thread(worker.wait_for_output, "begun")
        assert await asyncio.to_thread(worker.terminate) == 0
        assert await shop.sent() == [(1, 0)]


async def test_several_processes_share_the_work_and_one_that_dies_is_replaced(shop: Shop) -> None:
    with (
        shop.program("relay", "shop:bus"),
        shop.program("worker", "shop:mail", "--processes", "2") as worker,
    ):
        expected = await orders(shop, 20)
        await shop.all_sent(len(expected))
        processes = {one.process for one in await shop.effects()}
        assert worker.process.pid not in processes
        os.kill(min(processes), signal.SIGKILL)
        expected += await orders(shop, 20)
        await shop.all_sent(len(expected))
        await asyncio.to_thread(worker.wait_for_output, "worker.died")
        assert await asyncio.to_thread(worker.terminate) == 0
    assert sorted(await shop.sent()) == expected


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_processes_whose_supervisor_was_killed_end_by_themselves(shop: Shop) -> None:
    with (
        shop.program("relay", "shop:bus"),
        shop.program("worker", "shop:mail", "--processes", "2") as worker,
    ):
        await orders(shop, 10)
        await shop.all_sent(30)
        orphans = psutil.Process(worker.process.pid).children()
        assert len(orphans) == 2
        worker.kill()
        await eventually(lambda: not any(one.is_running() for one in orphans))
    assert "worker.stopped" in worker.output


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_worker_waits_for_a_redis_that_is_away_and_says_so_once(
    shop: Shop, redis_server: Server, tmp_path: Path
) -> None:
    async with Proxy(redis_server.url, is_open=False) as proxy:
        with (
            shop.program("relay", "shop:bus"),
            shop.program(
                "worker", "shop:mail", "--health-file", "alive", SHOP_BROKER=proxy.url
            ) as worker,
        ):
            await asyncio.to_thread(worker.wait_for_output, "broker.unavailable")
            await asyncio.sleep(1.5)
            assert worker.process.poll() is None
            assert worker.output.count("broker.unavailable") == 1
            assert (tmp_path / "alive").exists()
            proxy.open()
            await asyncio.to_thread(worker.wait_for_output, "worker.started")
            await shop.Order.query.create()
            await shop.all_sent(1)
            assert await asyncio.to_thread(worker.terminate) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_health_file_tells_a_probe_that_it_works(shop: Shop, tmp_path: Path) -> None:
    with shop.program("relay", "shop:bus", "--health-file", "alive") as relay:
        await eventually((tmp_path / "alive").exists)
        with shop.program("health", "alive") as probe:
            assert await asyncio.to_thread(probe.process.wait, 30) == 0
        assert relay.terminate() == 0
    with shop.program("health", "elsewhere") as probe:
        assert await asyncio.to_thread(probe.process.wait, 30) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("worker", "shop:nothing"), "the module 'shop' has no 'nothing'; it has the bus shop:bus"),
        (("worker", "shop"), "write MODULE:ATTRIBUTE, for example app:bus"),
        (("worker", "no_shop:bus"), "there is no module 'no_shop'"),
        (
            ("worker", "shop:mail", "--group", "search"),
            "no receiver runs in group 'search'; the groups are: mail",
        ),
        (("worker", "shop:bus"), "there is nothing to do: no receiver"),
        (("relay", "shop:mail"), "this bus has no registry"),
        (("worker", "local:bus"), "this bus is in local mode"),
        (("worker", "kafka:bus"), "unknown broker scheme 'kafka'"),
        (("demo", "--database", "mysql://localhost/x"), "mysql"),
    ],
)
def test_obvious_mistakes_are_one_message_and_status_2(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "shop.py").write_text(Path(__file__).with_name("shop.py").read_text())
    (tmp_path / "local.py").write_text("import edgy_bus\nbus = edgy_bus.Bus()\n")
    (tmp_path / "kafka.py").write_text("import edgy_bus\nbus = edgy_bus.Bus('kafka://localhost')\n")
    environment = {
        "SHOP_DATABASE": "sqlite:///x.sqlite",
        "SHOP_BROKER": "redis://127.0.0.1:1",
        "SHOP_PREFIX": "t",
    }
    with program(*arguments, folder=tmp_path, **environment) as one:
        assert one.process.wait(30) == 2, one.output
    assert message in one.output
    assert "Traceback" not in one.output


AWAY = "postgresql://nobody:hush@127.0.0.1:1/none"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (
            ("held", "shop:mail"),
            {"SHOP_BROKER": "redis://:hush@127.0.0.1:1"},
            "Redis does not answer",
        ),
        (("release", "shop:mail", "shop.Order", "1"), {"SHOP_BROKER": "redis://127.0.0.1:1"}, ""),
        (
            ("group", "forget", "shop:bus", "mail", "--yes"),
            {"SHOP_BROKER": "redis://127.0.0.1:1"},
            "Redis does not answer",
        ),
        (
            ("group", "forget", "shop:bus", "mail", "--yes"),
            {"SHOP_DATABASE": AWAY},
            "PostgreSQL cannot be reached",
        ),
    ],
)
def test_an_outage_is_one_message_and_status_3(
    tmp_path: Path,
    redis_url: str,
    prefix: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    message: str,
) -> None:
    (tmp_path / "shop.py").write_text(Path(__file__).with_name("shop.py").read_text())
    given = {
        "SHOP_DATABASE": "sqlite:///x.sqlite",
        "SHOP_BROKER": redis_url,
        "SHOP_PREFIX": prefix,
        **environment,
    }
    with program(*arguments, folder=tmp_path, **given) as one:
        assert one.process.wait(30) == 3, one.output
    assert message in one.output
    assert "Traceback" not in one.output
    assert "hush" not in one.output


def test_an_operator_needs_redis_only_and_starts_nothing(
    tmp_path: Path, redis_url: str, prefix: str
) -> None:
    (tmp_path / "service.py").write_text(
        "import os, pathlib\nimport edgy_bus\n"
        "bus = edgy_bus.Bus(os.environ['BROKER'], service='shop', prefix=os.environ['PREFIX'])\n"
        f"registry = edgy_bus.Registry({AWAY!r}, bus=bus)\n"
        "@bus.on_start\n"
        "async def hook():\n    pathlib.Path('hook').touch()\n"
        "class Order(edgy_bus.Model):\n"
        "    id: int = edgy_bus.BigIntegerField(primary_key=True)\n"
        "    class Meta:\n        registry = registry\n"
    )
    for arguments, status in (
        (("held", "service:bus"), 0),
        (("release", "service:bus", "shop.Order", "1"), 1),
    ):
        with program(*arguments, folder=tmp_path, BROKER=redis_url, PREFIX=prefix) as one:
            assert one.process.wait(30) == status, one.output
    assert not (tmp_path / "hook").exists()
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter(match=f"{prefix}:*")) == []
