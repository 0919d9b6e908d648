"""Limit how many receivers of a process run at the same time, over all its partitions."""

from collections import deque
from collections.abc import Callable


class Slots:
    """Hand out a fixed number of slots.

    No task waits for a slot: a caller that gets no slot is called when a slot is free, in the order
    of asking.
    """

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._line: deque[Callable[[], None]] = deque()

    def take(self, otherwise: Callable[[], None]) -> bool:
        """Take a slot. If no slot is free, `otherwise` is called once when a slot is free.

        `otherwise` stands in line once, no matter how often the caller asks.
        """
        if self._free:
            self._free -= 1
            return True
        if otherwise not in self._line:
            self._line.append(otherwise)
        return False

    def give_back(self) -> None:
        """Free a slot and call those in line for as long as slots are free."""
        self._free += 1
        # A caller may need no slot any more; then the slot goes to the next in line. A caller that
        # asks again during this loop stands behind the present line, or the loop would not end.
        for _ in range(len(self._line)):
            if not self._free:
                return
            self._line.popleft()()

    def forget(self, otherwise: Callable[[], None]) -> None:
        """Remove a caller from the line."""
        if otherwise in self._line:
            self._line.remove(otherwise)

    @property
    def busy(self) -> int:
        """Return how many slots are taken."""
        return self._count - self._free

    @property
    def wanted(self) -> bool:
        """Return whether a caller stands in line."""
        return bool(self._line)
