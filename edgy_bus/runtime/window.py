"""Remember the last events that each receiver of a process has finished, to skip ordinary repeats.

An event comes again when its acknowledgement did not reach the broker: the lease was lost at that
moment, or the broker lost its data. The window catches repeats that come to the same process. The
window makes no promise; an inbox does.

To skip an event must not leave a receiver with an older state of a row: the receiver may have been
called with an older event meanwhile, by another process, or by this process after an older copy of
the stream has come back.
"""

import itertools

from edgy_bus.brokers.base import Lease
from edgy_bus.events import Partition

_MOST_ROWS = 10_000
"""Rows that a course remembers."""


class Course:
    """What this process has done with a partition in tenures that followed each other directly.

    Once a receiver is called with a repeat, no later event of that row is skipped, until a new
    event of the row comes.
    """

    def __init__(self, window: "Window", number: int, lease: Lease) -> None:
        self._window = window
        self._number = number
        self._lease = lease
        self._newest = 0
        self._rows: set[str] = set()

    def goes_on(self, lease: Lease) -> bool:
        """Return whether a tenure is the last one of this course, or goes on with the course."""
        # By the owner, whose name no other tenure has: a broker that was rolled back counts tenures
        # anew. In another epoch, the events are others.
        if lease.epoch != self._lease.epoch or self._lease.owner not in (lease.owner, lease.former):
            return False
        self._lease = lease
        return True

    def may_skip(self, sequence: int | None, subject: str | None) -> bool:
        """Return whether receivers may skip an event that the window knows.

        Call it for every event, in the order of the stream. `sequence` is None for an event without
        a position among the events of a row.
        """
        if sequence is None or subject is None:
            return True
        if sequence > self._newest:
            # A new event: the window cannot know it.
            self._newest = sequence
            self._rows.discard(subject)
            return False
        return subject not in self._rows and len(self._rows) < _MOST_ROWS

    def repeat(self, subject: str | None) -> None:
        """Take note that a receiver is called, now or later, with an event that is not new."""
        if subject is not None and len(self._rows) < _MOST_ROWS:
            self._rows.add(subject)

    def finish(self, event_id: str, receiver: str) -> None:
        """Remember that a receiver has finished an event."""
        self._window.add((self._number, event_id, receiver))

    def has_finished(self, event_id: str, receiver: str) -> bool:
        """Return whether the window knows that a receiver has finished an event."""
        return (self._number, event_id, receiver) in self._window


Finished = tuple[int, str, str]
"""The number of a course, an event and a receiver."""


class Window:
    """Remember the last `size` events that receivers have finished, or up to twice as many."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: set[Finished] = set()
        self._old: set[Finished] = set()
        self._courses: dict[tuple[Partition, str], Course] = {}
        """The last course of each partition, of the group and of each receiver's own group."""
        self._numbers = itertools.count()

    def course(self, lease: Lease) -> Course:
        """Return the course of which a tenure is a part."""
        place = (lease.partition, lease.role)
        course = self._courses.get(place)
        if course is None or not course.goes_on(lease):
            course = self._courses[place] = Course(self, next(self._numbers), lease)
        return course

    def add(self, finished: Finished) -> None:
        # Two generations: a set that forgets single pairs would need an order, and more memory.
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()
        self._young.add(finished)

    def __contains__(self, finished: Finished) -> bool:
        return finished in self._young or finished in self._old
