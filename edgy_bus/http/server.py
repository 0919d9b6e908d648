"""Run the server in a thread, for as long as a program runs."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from edgy_bus import telemetry
from edgy_bus.http.address import Address, listen
from edgy_bus.http.app import make_app
from edgy_bus.http.showing import Showing
from edgy_bus.reasons import describe, trace_of
from edgy_bus.telemetry import catalogue

_ENDS_WITHIN = 1
"""Seconds for answers that are under way when the program ends."""


@asynccontextmanager
async def serving(address: Address, showing: Showing) -> AsyncIterator[Address]:
    """Serve a program; enter with the address, which has a real port also for port 0.

    Raises:
        ConfigurationError: if the address cannot be used. No later error reaches the program.
    """
    listening = listen(address)
    bound = Address(address.host, listening.getsockname()[1])
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(showing),
            # The logging of the program is not ours to configure, and a request is no news.
            log_config=None,
            access_log=False,
            log_level="warning",
            lifespan="off",
            ws="none",
            # Written in Python, and fast enough for a few requests in a minute.
            http="h11",
            loop="asyncio",
            server_header=False,
            # No answer depends on the address of the client.
            proxy_headers=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=_ENDS_WITHIN,
        )
    )

    def run() -> None:
        try:
            asyncio.run(server.serve(sockets=[listening]))
        except Exception as error:  # noqa: BLE001 - probes fail, and the work goes on
            telemetry.emit(
                catalogue.HttpFailed(path="*", error=describe(error), trace=trace_of(error))
            )

    # A daemon: no request keeps the process from its end.
    thread = threading.Thread(target=run, name="edgy_bus.http", daemon=True)
    thread.start()
    telemetry.emit(catalogue.HttpServing(address=f"http://{bound}"))
    try:
        yield bound
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join, 2 * _ENDS_WITHIN)
        listening.close()
