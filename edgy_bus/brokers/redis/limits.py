"""What a server does not let this library do, reported once."""

from edgy_bus import telemetry
from edgy_bus.telemetry import catalogue


class Limits:
    """Report each limit of a server once."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def report(self, refused: str, effect: str) -> None:
        """Report that the server refuses something, and what follows from that."""
        if refused not in self._reported:
            self._reported.add(refused)
            telemetry.emit(catalogue.BrokerLimited(refused=refused, effect=effect))
