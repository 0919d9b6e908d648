"""Bound the bytes of the events that a process has in hand, over all its partitions and groups."""

import asyncio


class Load:
    """Count bytes in hand, and keep room for reads, in the order in which they are asked for.

    Args:
        most: bytes of events that are read, ready or running.
        most_waiting: bytes of events that wait: for a retry, for a slot of their receiver, or to be
            put aside. They are counted apart, so that the rows of a receiver that fails or is slow
            keep no room from other rows.

    Attributes:
        active: bytes that count against `most`, without those of reads that are under way.
        waiting: bytes that count against `most_waiting`.
        tenures: the partitions that share the room.
    """

    def __init__(self, most: int, most_waiting: int) -> None:
        self.active = 0
        self.waiting = 0
        self.tenures = 0
        self._most = most
        self._most_waiting = most_waiting
        self._reserved = 0
        self._line: dict[asyncio.Future[bool], int] = {}
        self._enough = -1
        """The most active bytes with which the head of the line may have room; -1 without line."""

    def has_room(self, size: int) -> bool:
        """Return whether `size` more bytes may be read; with nothing in hand, any size may."""
        taken = self.active + self._reserved
        return taken == 0 or taken + size <= self._most

    def left_for(self, waiting: int) -> int:
        """Return how many bytes a tenure may read, because of its bytes that wait; at most 0: none.

        When the room for events that wait is taken, tenures with less than their share of it read
        on up to their share: they have not taken the room. So twice the room is the limit.
        """
        if self.waiting < self._most_waiting:
            return self._most_waiting
        return self._most_waiting // max(1, self.tenures) - waiting

    def stand_in_line(self, size: int) -> asyncio.Future[bool]:
        """Return a future: True as soon as `size` bytes are kept for a read, False after `leave`.

        A caller that gets True calls `release`. A caller that is cancelled leaves the line.
        """
        turn = asyncio.get_running_loop().create_future()
        self._line[turn] = size
        self._serve()
        return turn

    def leave(self, turn: asyncio.Future[bool]) -> None:
        """Leave the line."""
        if self._line.pop(turn, None) is None:
            return
        if not turn.done():
            turn.set_result(False)
        # The next in line may want less.
        self._serve()

    def release(self, size: int) -> None:
        """Give the room of a read back: what was read counts from now on."""
        self._reserved -= size
        self._serve()

    def finished(self, size: int) -> None:
        """Take note that an event is done. Called for every event."""
        self.active -= size
        if self.active <= self._enough:
            self._serve()

    def waits_no_longer(self, size: int) -> None:
        """Take note that events which have waited can run now."""
        self.waiting -= size
        self.active += size

    def _serve(self) -> None:
        """Keep room for those in line, from the head on.

        Nobody passes the head, and nobody else is woken: with hundreds of partitions in line, a
        look of each of them at every change would cost more than the reads.
        """
        while self._line:
            turn, size = next(iter(self._line.items()))
            if turn.cancelled():
                del self._line[turn]
            elif self.has_room(size):
                del self._line[turn]
                self._reserved += size
                turn.set_result(True)
            else:
                self._enough = max(0, self._most - self._reserved - size)
                return
        self._enough = -1
