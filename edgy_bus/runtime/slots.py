"""How many receivers of a process may run at the same time, over all partitions that it holds."""

from collections import deque
from collections.abc import Callable


class Slots:
    """A number of slots. Nobody waits for one in a task: who got none is called when one is free, in the order of asking."""

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._line: deque[Callable[[], None]] = deque()

    def take(self, otherwise: Callable[[], None]) -> bool:
        """Take a slot; if none is free, `otherwise` is called once when one is. It stands in line once, however often it asks."""
        if self._free:
            self._free -= 1
            return True
        if otherwise not in self._line:
            self._line.append(otherwise)
        return False

    def give_back(self) -> None:
        self._free += 1
        # Who is called may need none any more; then it is the next one's turn. Who asks again meanwhile stands behind these.
        for _ in range(len(self._line)):
            if not self._free:
                return
            self._line.popleft()()

    def forget(self, otherwise: Callable[[], None]) -> None:
        """It wants no slot any more."""
        if otherwise in self._line:
            self._line.remove(otherwise)

    @property
    def busy(self) -> int:
        return self._count - self._free

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self._line)
