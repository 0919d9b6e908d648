"""What a service shows over HTTP while its bus runs: `Bus(http=…)`."""

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus import telemetry
from edgy_bus.errors import ConfigurationError
from edgy_bus.http import Address
from edgy_bus.settings import RelaySettings
from tests.support import Told, eventually


def declare(database: edgy.Database, url: str, **options: Any) -> tuple[edgy.Bus, Any]:
    bus = edgy.Bus(url, service="accounts", relaying=RelaySettings(poll=0.05), **options)
    registry_ = edgy.Registry(database, bus=bus)

    class Account(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = registry_

    bus.on_start(registry_.create_all)
    return bus, Account


def address_of(told: Told) -> str:
    return str(told.of("http.serving")[-1]["address"])


async def get(url: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(read)


async def shows(url: str, text: str) -> None:
    async def is_shown() -> bool:
        return text in await get(url)

    await eventually(is_shown, f"{text!r} at {url}")


async def test_a_service_shows_its_relay_while_its_bus_runs(
    database: edgy.Database, redis_url: str, prefix: str
) -> None:
    bus, account = declare(database, redis_url, prefix=prefix, http=0)
    for _ in range(2):  # a bus can be started again
        with Told() as told:
            async with bus:
                url = address_of(told)
                assert url.startswith("http://127.0.0.1:")
                await account.query.create()
                await shows(f"{url}/metrics", 'publish_delay_seconds_count{service="accounts"} 1.0')
                await shows(f"{url}/metrics", "edgy_bus_outbox_pending_events")
                await shows(f"{url}/metrics", "edgy_bus_ready 1.0")
                assert await get(f"{url}/readyz") == "ok\n"
                assert json.loads(await get(f"{url}/lag")) == {"groups": {}}
        with pytest.raises(OSError):  # noqa: PT011 - the port is closed
            await get(f"{url}/livez")
        assert not telemetry.is_measured()


async def test_a_port_that_is_taken_ends_the_start_before_anything_is_connected(
    database_url: str,
) -> None:
    database = edgy.Database(database_url)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bus, _ = declare(database, "memory://", http=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match="Address already in use"):
            await bus.start()
    assert not database.is_connected
    assert not telemetry.is_measured()
    async with bus:  # the port is free now
        assert telemetry.is_measured()


async def test_a_server_that_fails_is_reported_and_ends_no_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no server")

    monkeypatch.setattr("uvicorn.Server.serve", fails)
    with Told() as told:
        async with edgy.Bus("memory://", http=0):
            await eventually(lambda: told.of("http.failed"))
    (failed,) = told.of("http.failed")
    assert (failed["path"], failed["error"]) == ("*", "RuntimeError: no server")


async def test_a_bus_in_local_mode_is_ready_when_it_has_started() -> None:
    with Told() as told:
        async with edgy.Bus(http=0):
            url = address_of(told)
            await shows(f"{url}/metrics", "edgy_bus_ready 1.0")
            assert await get(f"{url}/livez") == "ok\n"


def test_an_address_is_checked_when_the_bus_is_made() -> None:
    assert edgy.Bus(http="0.0.0.0:9000").view.address == Address("0.0.0.0", 9000)
    assert edgy.Bus().view.address is None
    with pytest.raises(ConfigurationError, match="is no address for HTTP"):
        edgy.Bus(http="nine")


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_extra_is_named(package: str) -> None:
    code = (
        "import asyncio, sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {package!r}: raise ModuleNotFoundError('missing', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import edgy_bus as edgy; asyncio.run(edgy.Bus(http=0).start())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    needs = f"needs the package {package}, which is not installed: pip install 'edgy_bus[http]'"
    assert needs in done.stderr


def test_a_bus_without_http_imports_no_server() -> None:
    code = (
        "import asyncio, sys, edgy_bus as edgy\n"
        "async def main():\n"
        "    async with edgy.Bus('memory://'): pass\n"
        "asyncio.run(main())\n"
        "print({'starlette', 'uvicorn', 'prometheus_client'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"
