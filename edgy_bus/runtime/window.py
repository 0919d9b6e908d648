"""Remember the last events that each receiver of a process has finished, to skip ordinary repeats.

An event comes again when its acknowledgement did not reach the broker: the lease was lost at that
moment, or the broker lost its data. The window catches repeats that come to the same process. The
window makes no promise; an inbox does.
"""


class Window:
    """Remember the last `size` pairs of event and receiver, or up to twice as many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: set[tuple[str, str]] = set()
        self._old: set[tuple[str, str]] = set()

    def add(self, event_id: str, receiver: str) -> None:
        """Remember that a receiver has finished an event."""
        # Two generations: a set that forgets single pairs would need an order, and more memory.
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()
        self._young.add((event_id, receiver))

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._young or pair in self._old
