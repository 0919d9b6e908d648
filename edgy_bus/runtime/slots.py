"""Limit how many calls run at the same time: in a process, and of each receiver in a process.

The limit of a receiver keeps a slow receiver from taking the slots of others. A first delivery to a
receiver of single events takes a slot of the receiver when the call begins to wait: nearly all such
calls wait for nothing, and take none. Every other call (a batch, a retry, an inherited entry, an
event of a receiver with held rows) takes a slot of the receiver before the call begins.
"""

import asyncio
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
        self._resting = 0

    def take(self, otherwise: Callable[[], None]) -> bool:
        """Take a slot. If no slot is free, `otherwise` is called once when a slot is free.

        `otherwise` stands in line once, no matter how often the caller asks.
        """
        if self._free > 0:
            self._free -= 1
            return True
        if otherwise not in self._line:
            self._line.append(otherwise)
        return False

    def occupy(self) -> None:
        """Take a slot for something that has begun, even if no slot is free."""
        self._free -= 1

    def vacate(self) -> None:
        """Free a slot, which the caller occupies again or offers before anyone else can ask."""
        self._free += 1

    def offer(self) -> None:
        """Call those in line for as long as slots are free."""
        # A caller may need no slot any more; then the slot goes to the next in line. A caller that
        # asks again during this loop stands behind the present line, or the loop would not end.
        for _ in range(len(self._line)):
            if self._free <= 0:
                return
            self._line.popleft()()

    def give_back(self) -> None:
        """Free a slot and offer it to those in line."""
        self.vacate()
        self.offer()

    def limit(self, count: int) -> bool:
        """Hand out so many slots from now on; return whether that is another number."""
        before, self._count = self._count, count
        # Negative while more slots are taken than are handed out now.
        self._free += count - before
        return count != before

    def forget(self, otherwise: Callable[[], None]) -> None:
        """Remove a caller from the line."""
        if otherwise in self._line:
            self._line.remove(otherwise)

    def rest(self) -> None:
        """Note that the holder of a slot waits for something, and needs no turn of the loop."""
        self._resting += 1

    def resume(self) -> None:
        """Note that a holder waits no longer."""
        self._resting -= 1

    @property
    def is_full(self) -> bool:
        """Return whether no slot is free."""
        return self._free <= 0

    @property
    def busy(self) -> int:
        """Return how many slots are taken."""
        return self._count - self._free

    @property
    def active(self) -> int:
        """Return how many holders want a turn of the event loop."""
        return self.busy - self._resting

    @property
    def wanted(self) -> bool:
        """Return whether a caller stands in line."""
        return bool(self._line)


class ReceiverSlots:
    """Hold the slots of each receiver of a group.

    Args:
        count: slots of each receiver.

    Attributes:
        full: the receivers without a free slot. Nearly always empty, and read for every job.
    """

    def __init__(self, count: int) -> None:
        self.full: set[str] = set()
        self._count = count
        self._slots: dict[str, Slots] = {}

    def take(self, receiver: str, otherwise: Callable[[], None]) -> bool:
        """Take a slot of a receiver, as `Slots.take` does."""
        taken = self._of(receiver).take(otherwise)
        self._note(receiver)
        return taken

    def stand_in_line(self, receiver: str) -> asyncio.Future[None]:
        """Return a future that is done as soon as a slot of a receiver is taken for the caller.

        The caller gives the slot back. A caller that waits no longer cancels the future.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def take() -> None:
            # When called from the line, and not later: others in the line take their slots at once.
            if not turn.done() and self.take(receiver, take):
                turn.set_result(None)

        take()
        return turn

    def occupy(self, receiver: str) -> None:
        """Take a slot for a call of a receiver, even if no slot is free."""
        self._of(receiver).occupy()
        self._note(receiver)

    def vacate(self, receiver: str) -> None:
        """Free a slot that was kept for a call which begins now; `offer` must follow."""
        # Still among the full ones: nobody else may have the slot in the meantime.
        self._of(receiver).vacate()

    def has_free(self, receiver: str) -> bool:
        """Return whether a call may begin, after `vacate`: the limit may have fallen meanwhile."""
        return not self._of(receiver).is_full

    def offer(self, receiver: str) -> None:
        """Offer free slots of a receiver to those in line."""
        self._of(receiver).offer()
        self._note(receiver)

    def give_back(self, receiver: str) -> None:
        """Free a slot of a receiver, and offer it to those in line."""
        self.vacate(receiver)
        self.offer(receiver)

    def forget(self, receiver: str, otherwise: Callable[[], None]) -> None:
        """Remove a caller from the line of a receiver."""
        self._of(receiver).forget(otherwise)

    def busy(self, receiver: str) -> int:
        """Return how many slots of a receiver are taken."""
        return self._of(receiver).busy

    def limit(self, receiver: str, count: int | None) -> None:
        """Hand out so many slots of a receiver from now on; None: as many as at the beginning."""
        slots = self._of(receiver)
        if slots.limit(self._count if count is None else count):
            self.offer(receiver)

    def _of(self, receiver: str) -> Slots:
        slots = self._slots.get(receiver)
        if slots is None:
            slots = self._slots[receiver] = Slots(self._count)
        return slots

    def _note(self, receiver: str) -> None:
        if self._of(receiver).is_full:
            self.full.add(receiver)
        else:
            self.full.discard(receiver)
