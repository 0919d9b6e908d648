"""Show a service, whose program belongs to the application, while its bus runs."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from edgy_bus.health import Pulse
from edgy_bus.http.address import parse
from edgy_bus.http.heart import Heart
from edgy_bus.http.program import show
from edgy_bus.http.showing import Showing
from edgy_bus.operations import Parts
from edgy_bus.outbox.relay import Relay


class ServiceView:
    """Serve metrics, health and lag of a service, if the service has an address.

    Args:
        address: `[HOST:]PORT`; None opens no port, and measures nothing.

    Raises:
        ConfigurationError: for another text.
    """

    def __init__(self, address: str | int | None) -> None:
        self.address = None if address is None else parse(address)
        self._showing: Showing | None = None

    async def open(self, stack: AsyncExitStack) -> None:
        """Serve until the stack is closed. Called before the service connects to anything.

        Raises:
            ConfigurationError: if the extra is not installed, or if the address cannot be used.
        """
        if self.address is not None:
            self._showing = await show(self.address, Pulse(), stack, groups=True)

    async def attach(
        self, stack: AsyncExitStack, parts: Parts | None, relays: Sequence[Relay]
    ) -> None:
        """Show a service that has started.

        Args:
            stack: ends the connections of the service.
            parts: the broker and the outboxes; None in local mode.
            relays: the relays that run in this process.
        """
        if self._showing is None:
            return
        # Before the heart, which is stopped first: a view must never use closed connections.
        if parts is not None:
            self._showing.attach(parts, stack)
        await stack.enter_async_context(Heart(self._showing.pulse, relays))
