"""Note the progress of a service, whose main loop belongs to the application."""

from collections.abc import Sequence

from edgy_bus.health import Pulse
from edgy_bus.outbox.relay import Relay
from edgy_bus.services import Service

_BEAT = 2.0
"""Seconds between two beats, far less than the limit for a program that hangs."""


class Heart(Service):
    """Note progress as long as the relays of a service make progress.

    Args:
        pulse: takes the progress.
        relays: the relays that run in this process. Without relays, the service is well while its
            event loop runs.
    """

    def __init__(self, pulse: Pulse, relays: Sequence[Relay]) -> None:
        super().__init__()
        self._pulse = pulse
        self._relays = relays

    async def run(self) -> None:
        """Beat until stopped."""
        while not self.stopping.is_set():
            # The same decision as in the program `edgy-bus relay`.
            if all(relay.alive for relay in self._relays):
                self._pulse.beat(is_ready=all(relay.ready for relay in self._relays))
            await self.pause(_BEAT)
