"""A bus starts before a web application and stops after it, with and without a lifespan."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette

from edgy_bus.integrations.asgi import Application, lifespan, with_bus
from edgy_bus.services import Startable

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}


class FakeBus(Startable):
    """Notes when it starts and stops."""

    def __init__(self, log: list[str], error: Exception | None = None) -> None:
        self.log = log
        self.error = error
        self.runs = False

    async def start(self) -> None:
        if self.error is not None:
            raise self.error
        self.runs = True
        self.log.append("bus starts")

    async def stop(self) -> None:
        if self.runs:
            self.log.append("bus stops")
        self.runs = False


def serve(app: Application, log: list[str]) -> Callable[[], Any]:
    """Run the lifespan of an application as a server does."""

    async def run() -> None:
        messages = [STARTUP, SHUTDOWN]

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            log.append(message["type"])

        await app({"type": "lifespan"}, receive, send)

    return run


async def without_lifespan(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "this application knows requests only"


async def test_the_bus_of_a_framework_runs_inside_of_its_lifespan() -> None:
    log: list[str] = []
    await serve(Starlette(lifespan=lifespan(FakeBus(log))), log)()
    assert log == [
        "bus starts",
        "lifespan.startup.complete",
        "bus stops",
        "lifespan.shutdown.complete",
    ]


async def test_an_application_without_a_lifespan_gets_one() -> None:
    log: list[str] = []
    await serve(with_bus(without_lifespan, FakeBus(log)), log)()
    assert log == [
        "bus starts",
        "lifespan.startup.complete",
        "bus stops",
        "lifespan.shutdown.complete",
    ]


async def test_the_lifespan_of_an_application_goes_on_inside() -> None:
    log: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        log.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        log.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    await serve(with_bus(app, FakeBus(log)), log)()
    assert log == [
        "bus starts",
        "lifespan.startup",
        "lifespan.startup.complete",
        "lifespan.shutdown",
        "bus stops",
        "lifespan.shutdown.complete",
    ]


async def test_a_bus_that_cannot_start_is_reported_to_the_server() -> None:
    log: list[str] = []
    await serve(with_bus(without_lifespan, FakeBus(log, OSError("no database"))), log)()
    assert log == ["lifespan.startup.failed"]


async def test_an_application_that_fails_while_it_runs_stops_the_bus() -> None:
    log: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await serve(with_bus(app, FakeBus(log)), log)()
    assert log == ["bus starts", "lifespan.startup.complete", "bus stops"]


async def test_requests_reach_the_application() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any: ...

    await with_bus(app, FakeBus([]))({"type": "http"}, nothing, nothing)
    assert seen == ["http"]
