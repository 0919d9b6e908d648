"""The health files of real programs, and the modules that hold their receivers."""

import asyncio
import shutil
from pathlib import Path

import pytest

from edgy_bus.testing.servers import Server
from tests.acceptance.conftest import Shop
from tests.acceptance.programs import program
from tests.proxy import Proxy
from tests.support import eventually


async def probe(shop: Shop, *arguments: str) -> int:
    with shop.program("health", *arguments) as asked:
        return await asyncio.to_thread(asked.process.wait, 30)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_worker_is_ready_when_it_takes_part_in_its_groups(
    shop: Shop, redis_server: Server, processes: str
) -> None:
    for name in ("alive", "alive.0", "alive.1"):  # by a former program
        (shop.folder / name).write_text("ready\n")
    async with Proxy(redis_server.url, is_open=False) as proxy:
        options = ("--health-file", "alive", "--processes", processes)
        with shop.program("worker", "shop:mail", *options, SHOP_BROKER=proxy.url) as worker:
            await asyncio.to_thread(worker.wait_for_output, "broker.unavailable")
            # It waits for Redis: a restart would not help, and nothing should be sent to it.
            assert await probe(shop, "alive") == 0
            assert await probe(shop, "alive", "--ready") == 1
            proxy.open()

            async def is_ready() -> bool:
                return await probe(shop, "alive", "--ready") == 0

            await eventually(is_ready)
            assert await asyncio.to_thread(worker.terminate) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_relay_is_ready_after_its_first_step(shop: Shop, redis_server: Server) -> None:
    (shop.folder / "alive").write_text("ready\n")  # by a former program
    async with Proxy(redis_server.url, is_open=False) as proxy:
        options = ("--health-file", "alive")
        with shop.program("relay", "shop:bus", *options, SHOP_BROKER=proxy.url) as relay:
            await asyncio.to_thread(relay.wait_for_output, "broker.unavailable")
            assert await probe(shop, "alive") == 0
            assert await probe(shop, "alive", "--ready") == 1
            proxy.open()

            async def is_ready() -> bool:
                return await probe(shop, "alive", "--ready") == 0

            await eventually(is_ready)
            assert await asyncio.to_thread(relay.terminate) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_health_file_that_cannot_be_written_ends_no_program(shop: Shop) -> None:
    folder = shop.folder / "run"
    with (
        shop.program("relay", "shop:bus", "--health-file", "run/relay") as relay,
        shop.program("worker", "shop:mail", "--health-file", "run/worker") as worker,
    ):
        for one in (relay, worker):
            await asyncio.to_thread(one.wait_for_output, "health.failed")
        folder.mkdir()
        for one in (relay, worker):
            await asyncio.to_thread(one.wait_for_output, "health.written")
        shutil.rmtree(folder)
        await shop.Order.query.create()
        await shop.all_sent(1)
        for one in (relay, worker):
            assert await asyncio.to_thread(one.terminate) == 0
            assert one.output.count("health.failed") <= 2


RECEIVERS = """
from app import bus

@bus.receiver("shop.Row", "post_save", deadline=3)
async def greet(sender, **kwargs): ...
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_worker_imports_and_lists_its_receivers(
    tmp_path: Path, redis_url: str, prefix: str, processes: str
) -> None:
    (tmp_path / "app.py").write_text(
        f"import edgy_bus as edgy\nbus = edgy.Bus({redis_url!r}, service='mail', prefix={prefix!r})"
    )
    (tmp_path / "greeting.py").write_text(RECEIVERS)
    (tmp_path / "idle.py").write_text("")
    options = ("--import", "greeting", "--import", "idle", "--processes", processes)
    with program("worker", "app:bus", *options, folder=tmp_path) as worker:
        worker.wait_for_output("worker.started groups=['mail'] receivers=['greeting.greet']")
        line = "receiver=greeting.greet model=shop.Row signal=post_save options=deadline=3"
        assert line in worker.output
        assert "receivers.not_connected module=idle" in worker.output
        assert worker.terminate() == 0
    with program("worker", "app:bus", "--import", "greting", folder=tmp_path) as worker:
        assert worker.process.wait(30) == 2
    assert "names 'greting', and there is no module 'greting'" in worker.output
    assert "Traceback" not in worker.output
