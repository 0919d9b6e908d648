"""What real programs show over HTTP: metrics, health and lag, with processes that are killed."""

import asyncio
import json
import re
import signal
import socket
import urllib.error
import urllib.request
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgy_bus.testing.servers import Server
from tests.acceptance.conftest import Shop
from tests.acceptance.programs import Program
from tests.proxy import Proxy
from tests.support import eventually

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HANDLED = "edgy_bus_receiver_handled_events_total"


async def address_of(program: Program) -> str:
    await asyncio.to_thread(program.wait_for_output, "http.serving")
    found = re.search(r"http\.serving address=(\S+)", program.output)
    assert found is not None
    return found[1]


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def get(url: str) -> tuple[int, str]:
    return await asyncio.to_thread(_get, url)


async def samples(url: str) -> dict[str, float]:
    """The sum of each sample over its labels."""
    status, text = await get(f"{url}/metrics")
    assert status == 200, text
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


async def becomes(url: str, expected: dict[str, float]) -> None:
    """Wait until the samples have these values, all at the same time."""

    async def are() -> bool:
        seen = await samples(url)
        return all(seen.get(name) == value for name, value in expected.items())

    await eventually(are, f"{expected} at {url}")


async def lag(url: str, query: str = "") -> tuple[int, Any]:
    status, text = await get(f"{url}/lag{query}")
    return status, json.loads(text)


async def save(shop: Shop, count: int) -> None:
    for _ in range(count):
        await shop.Order.query.create()


async def test_a_worker_and_a_relay_show_what_they_do(shop: Shop) -> None:
    with (
        shop.program("relay", "shop:bus", "--http", "0") as relay,
        shop.program("worker", "shop:mail", "--http", "0") as worker,
    ):
        publishing, handling = await address_of(relay), await address_of(worker)
        assert handling.startswith("http://127.0.0.1:")
        await save(shop, 10)
        await shop.all_sent(10)

        await becomes(
            handling,
            {
                HANDLED: 10,
                "edgy_bus_receiver_duration_seconds_count": 10,
                "edgy_bus_start_delay_seconds_count": 10,
                "edgy_bus_worker_in_hand_jobs": 0,
                "edgy_bus_ready": 1,
            },
        )
        await becomes(
            publishing,
            {
                "edgy_bus_publish_delay_seconds_count": 10,
                "edgy_bus_relay_published_events_total": 10,
                "edgy_bus_outbox_pending_events": 0,
                "edgy_bus_group_lag_events": 0,
                "edgy_bus_group_workers": 1,
                "edgy_bus_ready": 1,
            },
        )
        assert (await samples(handling))["edgy_bus_worker_leases"] > 0
        for url in (publishing, handling):
            assert await get(f"{url}/livez") == (200, "ok\n")
            assert await get(f"{url}/readyz") == (200, "ok\n")
            assert (await get(f"{url}/"))[0] == 404
        # A client that never completes its request keeps no program from its end.
        host, _, port = handling.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x")
            assert await asyncio.to_thread(worker.terminate) == 0
        assert "program.cut_off" not in worker.output
        # Workers are away: what waits for them is told by the relay, for those who start workers.
        await save(shop, 3)

        async def waits() -> bool:
            _, view = await lag(publishing, "?group=mail")
            return (view["lag"], view["workers"]) == (3, 0)

        await eventually(waits)
        assert set((await lag(publishing))[1]["groups"]) == {"mail"}
        status, view = await lag(publishing, "?group=male")
        assert status == 404
        assert "'male'" in view["error"]
        assert await asyncio.to_thread(relay.terminate) == 0
    assert "http.failed" not in relay.output + worker.output


async def test_a_worker_that_waits_for_redis_is_alive_and_not_ready(
    shop: Shop, redis_server: Server
) -> None:
    async with Proxy(redis_server.url, is_open=False) as proxy:
        with shop.program("worker", "shop:mail", "--http", "0", SHOP_BROKER=proxy.url) as worker:
            url = await address_of(worker)
            await asyncio.to_thread(worker.wait_for_output, "broker.unavailable")
            assert (await get(f"{url}/livez"))[0] == 200
            status, text = await get(f"{url}/readyz")
            assert status == 503
            assert "has not worked yet" in text
            assert (await samples(url))["edgy_bus_ready"] == 0
            assert (await lag(url))[0] == 503
            proxy.open()

            async def is_ready() -> bool:
                return (await get(f"{url}/readyz"))[0] == 200

            await eventually(is_ready)
            assert await asyncio.to_thread(worker.terminate) == 0


async def test_a_supervisor_adds_its_processes_and_forgets_what_a_killed_one_held(
    shop: Shop,
) -> None:
    options = ("--processes", "2", "--http", "0")
    with (
        shop.program("relay", "shop:bus"),
        shop.program("worker", "shop:mail", *options) as worker,
    ):
        url = await address_of(worker)

        async def is_ready() -> bool:
            return (await get(f"{url}/readyz"))[0] == 200

        await eventually(is_ready)
        await save(shop, 20)
        await shop.all_sent(20)

        await becomes(url, {HANDLED: 20})
        leases = (await samples(url))["edgy_bus_worker_leases"]
        assert (await lag(url, "?group=mail"))[1]["lag"] == 0
        # A process that has handled some of them, and whose counts could get lost.
        psutil.Process((await shop.effects())[0].process).send_signal(signal.SIGKILL)

        def is_replaced() -> bool:
            return worker.output.count("worker.started") == 3

        await eventually(is_replaced)
        # Its counts stay, and the leases that it held are not counted beside those of the others.
        seen = await samples(url)
        assert seen[HANDLED] == 20
        assert seen["edgy_bus_worker_deaths_total"] == 1
        assert seen["edgy_bus_worker_leases"] <= leases
        await becomes(url, {"edgy_bus_worker_leases": leases})
        await save(shop, 5)
        await shop.all_sent(25)
        await becomes(url, {HANDLED: 25})
        assert await asyncio.to_thread(worker.terminate) == 0


@pytest.mark.parametrize("command", [("worker", "shop:mail"), ("relay", "shop:bus")])
async def test_a_port_that_is_taken_ends_the_start(shop: Shop, command: tuple[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with shop.program(*command, "--http", port) as refused:
            assert await asyncio.to_thread(refused.process.wait, 30) == 2
    assert f"HTTP cannot be served at 127.0.0.1:{port}: Address already in use" in refused.output
    assert "Traceback" not in refused.output


async def test_a_program_answers_while_a_receiver_blocks_its_loop(shop: Shop) -> None:
    with (
        shop.program("relay", "shop:bus"),
        shop.program(
            "worker", "shop:mail", "--http", "0", SHOP_BLOCKED_UNTIL=str(shop.folder / "free")
        ) as worker,
    ):
        url = await address_of(worker)
        await save(shop, 1)
        await asyncio.to_thread(worker.wait_for_output, "begun")
        assert (await get(f"{url}/livez"))[0] == 200
        assert (await samples(url))["edgy_bus_worker_leases"] > 0
        (shop.folder / "free").touch()
        await shop.all_sent(1)
        assert await asyncio.to_thread(worker.terminate) == 0
