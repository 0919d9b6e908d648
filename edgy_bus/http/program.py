"""Serve a program for as long as a stack is open, if the extra is installed."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from edgy_bus.errors import ConfigurationError
from edgy_bus.health import Pulse
from edgy_bus.http.address import Address
from edgy_bus.http.showing import Showing

Serving = Callable[[Address, Showing], AbstractAsyncContextManager[Address]]
"""Serve a program, as `server.serving` does."""

_PACKAGES = frozenset({"prometheus_client", "starlette", "uvicorn"})


def require() -> Serving:
    """Import the packages of the extra, and return the server.

    Raises:
        ConfigurationError: if a package is missing.
    """
    # Not at the top: programs without a server neither need nor load these packages.
    try:
        from edgy_bus.http.server import serving  # noqa: PLC0415
    except ModuleNotFoundError as error:
        # A module that a package of the extra misses is a broken installation: show the traceback.
        if error.name not in _PACKAGES:
            raise
        raise ConfigurationError(
            f"serving metrics and health needs the package {error.name}, which is not installed: "
            "pip install 'edgy_bus[http]'"
        ) from None
    return serving


async def show(
    address: Address, pulse: Pulse, stack: AsyncExitStack, *, groups: bool = False
) -> Showing:
    """Serve a program until the stack is closed.

    Args:
        address: where the server listens.
        pulse: the progress of the program.
        stack: ends the server. Everything that is on the stack already is closed later.
        groups: whether the metrics include the state of all groups, and of the outboxes.

    Raises:
        ConfigurationError: if a package is missing, or if the address cannot be used.
    """
    serving = require()
    showing = Showing(pulse, groups=groups)
    # Before the server, whose last answers still read the numbers.
    stack.callback(showing.close)
    await stack.enter_async_context(serving(address, showing))
    return showing
