"""The last events that each receiver of this process has finished: ordinary repeats are not handled again.

An event comes again when its acknowledgement did not get through: the lease was lost meanwhile, or the broker has lost what it knew.
The window catches those that come to the same process. It is a courtesy, not a promise; an inbox is one.
"""


class Window:
    """Remembers the last `size` pairs of event and receiver, or up to twice as many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: set[tuple[str, str]] = set()
        self._old: set[tuple[str, str]] = set()

    def add(self, event_id: str, receiver: str) -> None:
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()
        self._young.add((event_id, receiver))

    def __contains__(self, one: tuple[str, str]) -> bool:
        return one in self._young or one in self._old
