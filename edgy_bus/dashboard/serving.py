"""Run the dashboard until its process gets a signal."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import uvicorn

from edgy_bus.dashboard.access import Access
from edgy_bus.dashboard.app import make_app
from edgy_bus.dashboard.reach import Reach
from edgy_bus.http.address import Address, listen
from edgy_bus.operations import Parts

_ENDS_WITHIN = 5
"""Seconds for answers that are under way when the dashboard ends."""


class _Server(uvicorn.Server):
    """A server that a signal ends, as an operator means it: with status 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM."""
        # Uvicorn's own way raises the signal again at the end, which looks like a crash.
        loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


async def serve(
    parts: Parts, access: Access, address: Address, greet: Callable[[Address], None]
) -> None:
    """Serve the dashboard.

    Args:
        parts: the broker, and the outboxes, whose databases are connected at their first use.
        access: the users and the protection.
        address: where the dashboard listens; port 0 for any.
        greet: called with the address as soon as the dashboard listens.

    Raises:
        ConfigurationError: if the address cannot be used.
    """
    listening = listen(address)
    async with AsyncExitStack() as stack:
        stack.callback(listening.close)
        app = make_app(access, Reach(parts, stack))
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                # Addresses contain keys of rows.
                access_log=False,
                log_level="warning",
                lifespan="off",
                ws="none",
                http="h11",
                loop="asyncio",
                server_header=False,
                # `client_of` reads what a proxy says of the client.
                proxy_headers=False,
                limit_concurrency=100,
                timeout_graceful_shutdown=_ENDS_WITHIN,
            )
        )
        greet(Address(address.host, listening.getsockname()[1]))
        await server.serve(sockets=[listening])
