"""Put aside the work of receivers that have no free slot, so that other receivers go on.

Work of a receiver without a free slot leaves the line of ready lanes, and comes back one call at a
time. When a slot is free, the partition that has asked first keeps the slot for its oldest work:
without that, partitions whose rows are always ready would take every slot.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from edgy_bus.runtime.batches import Members
from edgy_bus.runtime.jobs import Work
from edgy_bus.runtime.lanes import Lane, Lanes
from edgy_bus.runtime.slots import ReceiverSlots
from edgy_bus.runtime.term import Term

Unit = Lane[Work] | Members
"""What is called together: the first job of a lane, or a batch."""


class Stalled:
    """Hold the work of a partition that waits for slots of its receivers.

    Args:
        admitted: called when work has a slot.

    Attributes:
        ready: receivers and work for which a slot is kept.
    """

    def __init__(
        self, term: Term, lanes: Lanes[Work], slots: ReceiverSlots, admitted: Callable[[], None]
    ) -> None:
        self.ready: deque[tuple[str, Unit]] = deque()
        self._term = term
        self._lanes = lanes
        self._slots = slots
        self._admitted = admitted
        self._waiting: dict[str, deque[Unit]] = {}
        self._callers: dict[str, Callable[[], None]] = {}
        """One for each receiver, because the line knows a caller by its identity."""

    def add(self, receiver: str, unit: Unit) -> None:
        """Put work aside until its receiver has a free slot."""
        # Such work must not use up the room of other receivers: a call may last for minutes.
        for lane in _lanes_of(unit):
            self._lanes.stall(lane)
        self._waiting.setdefault(receiver, deque()).append(unit)
        self._admit(receiver)

    def resume(self) -> None:
        """Ask again for slots that were declined because no call might begin."""
        for receiver in tuple(self._waiting):
            self._admit(receiver)

    def withdraw(self) -> None:
        """Give the slots back that are kept for work, and ask for no more: no call may begin."""
        for receiver, call in self._callers.items():
            self._slots.forget(receiver, call)
        kept, self.ready = self.ready, deque()
        for receiver, unit in reversed(kept):
            for lane in _lanes_of(unit):
                self._lanes.stall(lane)
            self._waiting.setdefault(receiver, deque()).appendleft(unit)
            self._slots.give_back(receiver)

    def _admit(self, receiver: str) -> None:
        """Take a slot for the oldest work of a receiver, or stand in line."""
        waiting = self._waiting.get(receiver)
        if not waiting or not self._term.may_begin():
            return
        call = self._callers.setdefault(receiver, partial(self._admit, receiver))
        while waiting and self._slots.take(receiver, call):
            unit = waiting.popleft()
            for lane in _lanes_of(unit):
                self._lanes.go_on(lane)
            self.ready.append((receiver, unit))
        if not waiting:
            del self._waiting[receiver]
        if self.ready:
            self._admitted()


def _lanes_of(unit: Unit) -> list[Lane[Work]]:
    return [unit] if isinstance(unit, Lane) else [lane for lane, _ in unit]
