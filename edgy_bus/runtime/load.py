"""Bound the bytes of the events that a process has in hand, over all its partitions and groups."""

from collections import deque
from collections.abc import Callable


class Load:
    """Count bytes in hand, and call those who wait for room.

    Args:
        most: bytes of events that are read, ready or running.
        most_waiting: bytes of events that wait for a retry or to be put aside. They are counted
            apart, so that the rows of a receiver that fails keep no room from other rows.

    Attributes:
        active: bytes that count against `most`, without those of reads that are under way.
        waiting: bytes that count against `most_waiting`.
    """

    def __init__(self, most: int, most_waiting: int) -> None:
        self.active = 0
        self.waiting = 0
        self._most = most
        self._most_waiting = most_waiting
        self._reserved = 0
        self._line: deque[Callable[[], None]] = deque()

    def has_room(self, size: int) -> bool:
        """Return whether `size` more bytes may be read; with nothing in hand, any size may."""
        if self.is_full:
            return False
        taken = self.active + self._reserved
        return taken == 0 or taken + size <= self._most

    @property
    def is_full(self) -> bool:
        """Return whether the events that wait take all the room for such events."""
        return self.waiting >= self._most_waiting

    def reserve(self, size: int) -> None:
        """Keep room for a read that begins: several partitions read at the same time."""
        self._reserved += size

    def release(self, size: int) -> None:
        """Give the room of a read back: what was read counts from now on."""
        self._reserved -= size
        self.call()

    def finished(self, size: int) -> None:
        """Take note that an event is done. Called for every event."""
        self.active -= size
        if self._line:
            self.call()

    def wait(self, otherwise: Callable[[], None]) -> None:
        """Call `otherwise` once, when there may be room."""
        if otherwise not in self._line:
            self._line.append(otherwise)

    def forget(self, otherwise: Callable[[], None]) -> None:
        """Remove a caller from the line."""
        if otherwise in self._line:
            self._line.remove(otherwise)

    def call(self) -> None:
        """Call everyone in line: each looks whether there is enough room, and may wait again."""
        # A caller that waits again stands behind the present line, or the loop would not end.
        for _ in range(len(self._line)):
            self._line.popleft()()
