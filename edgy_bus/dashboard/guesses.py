"""Wrong secrets by the address of the client, and the pause before the next guess."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from edgy_bus import telemetry
from edgy_bus.telemetry import catalogue

FREE = 5
"""Wrong guesses of an address without a pause: people misspell their secrets."""

LONGEST = 60.0
"""Seconds of the longest pause. Another person behind the same address must get in some time."""

FORGOTTEN = 900.0
"""Seconds after the last wrong guess of an address, after which the address begins anew."""

MOST = 10_000
"""Addresses in memory; the address whose last wrong guess is the oldest goes first."""


@dataclass(frozen=True, slots=True)
class _Guesser:
    count: int
    last: float
    until: float


class Guesses:
    """Count wrong guesses of each address, and pause after some, twice as long each time.

    A right secret does not end a count: a user could guess the secret of another one in between.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # In the order of the last wrong guess.
        self._guessers: dict[str, _Guesser] = {}

    def pause(self, address: str) -> int:
        """Return the whole seconds for which no secret of an address is looked at."""
        guesser = self._guessers.get(address)
        return 0 if guesser is None else max(0, math.ceil(guesser.until - self._clock()))

    def wrong(self, address: str) -> None:
        """Count and report a wrong guess of an address."""
        now = self._clock()
        self._forget(now)
        before = self._guessers.pop(address, None)
        count = 1 if before is None else before.count + 1
        # The exponent is bounded, as numbers that a stranger raises should be.
        doubled = min(count - FREE, 16)
        pause = 0.0 if count < FREE else min(LONGEST, 2.0**doubled)
        if len(self._guessers) >= MOST:
            del self._guessers[next(iter(self._guessers))]
        self._guessers[address] = _Guesser(count, now, now + pause)
        telemetry.emit(catalogue.DashboardGuessed(address=address, count=count, pause=pause))

    def _forget(self, now: float) -> None:
        while self._guessers:
            address, oldest = next(iter(self._guessers.items()))
            if oldest.last + FORGOTTEN > now:
                return
            del self._guessers[address]


def network_of(address: str) -> str | None:
    """Return the text under which an address is counted; None for a text that is no address."""
    try:
        parsed = ip_address(address.strip())
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        # One connection to the Internet has all addresses of such a network.
        return str(IPv6Network((parsed.packed, 64), strict=False))
    return str(parsed)


def client_of(peer: str, forwarded: str, *, behind_proxy: bool) -> str:
    """Return the address that a guess is counted for.

    Args:
        peer: the other end of the connection.
        forwarded: the header `X-Forwarded-For`; everybody can write all parts but the last.
        behind_proxy: whether a proxy in front has written the last part of the header.
    """
    client = network_of(forwarded.rpartition(",")[2]) if behind_proxy else None
    return client or network_of(peer) or "unknown"
