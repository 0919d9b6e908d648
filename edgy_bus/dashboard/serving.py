"""Run the dashboard until its process gets a signal."""

from collections.abc import Callable
from contextlib import AsyncExitStack

import uvicorn

from edgy_bus.dashboard.access import Access
from edgy_bus.dashboard.app import make_app
from edgy_bus.dashboard.reach import Reach
from edgy_bus.http.address import Address, listen
from edgy_bus.operations import Parts

_ENDS_WITHIN = 5
"""Seconds for answers that are under way when the dashboard ends."""


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
        server = uvicorn.Server(
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
                # No answer depends on the address of the client.
                proxy_headers=False,
                limit_concurrency=100,
                timeout_graceful_shutdown=_ENDS_WITHIN,
            )
        )
        greet(Address(address.host, listening.getsockname()[1]))
        await server.serve(sockets=[listening])
