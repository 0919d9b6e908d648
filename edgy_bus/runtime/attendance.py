"""Decide which receivers of the group take part in a tenure, and which are set aside.

A program may lack receivers that its group has. The tenure sets them aside before it reads: they
read the partition in groups of their own, in tenures of programs that have them, and come back when
they have caught up and a program that has them owns the partition. The broker keeps the truth; this
module keeps what the broker has answered last.

A receiver that an operator has paused, or that is slow (`slowness.py`), is left out as if the
program lacked the receiver, with this difference: the tenure that learns of it may be calling the
receiver. Such a tenure ends, so that the running calls finish before the receiver is set aside.
Otherwise, a call in the group of all would run beside a call in the receiver's own group.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from edgy_bus import telemetry
from edgy_bus.brokers.base import START, Arrangement, EntryId
from edgy_bus.brokers.base.setting_aside import BEHIND, MISSING, PAUSED, SLOW
from edgy_bus.errors import BrokerError
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.telemetry import catalogue

_AGAIN = 0.2
"""Seconds between two questions whether a receiver can come back that has nearly caught up."""

_LATER = 1.0
"""Seconds between two such questions while receivers are far behind, perhaps for ever."""

_LONGEST_HOLD = 2.0
"""Seconds for which a tenure reads nothing so that a receiver can come back."""

_BETWEEN_HOLDS = 30.0
"""Seconds until it does so again: the receiver may wait for a retry or a slow call."""


class Attendance:
    """Keep the arrangement of a tenure.

    The tenure of a receiver's own group arranges nothing: only this receiver takes part.

    Args:
        slow: the receivers that the tenure before found to be slow. This tenure sets them aside
            when it begins, and lets them come back once they have caught up.

    Attributes:
        gone: receivers that the group has forgotten, or that do not subscribe to the stream.
        called: the receivers of which this tenure makes calls.
        wanted: these, and those that are set aside and are to come back: they read no further than
            the group does.
        is_shared: whether several receivers are wanted; read after every event.
    """

    def __init__(self, term: Term, tools: Tools, slow: frozenset[str] = frozenset()) -> None:
        self.gone: set[str] = set()
        self._term = term
        self._broker = tools.broker
        self._partition = term.lease.partition
        self._only = term.lease.receiver
        self._roster = None if self._only else tools.roster
        self._receivers = tools.subscriptions.at(self._partition)
        self._paused = tools.roster.paused if tools.roster else frozenset()
        """The paused receivers that this tenure does not call."""
        self._slow = slow
        """The slow receivers, until they are set aside."""
        self._aside: tuple[str, ...] = ()
        self._were_aside: set[str] = set()
        """The receivers that were aside when the arrangement under way began."""
        self._floors: Mapping[str, EntryId] = {}
        self._highest_floor = START
        self._arranged: object = None
        """The state of the roster at the last arrangement."""
        self._is_near = False
        self._next = 0.0
        self._holds_until = self._next_hold = 0.0
        self._note_called()

    @property
    def is_due(self) -> bool:
        """Return whether the broker is to be asked before the next read."""
        if self._roster is None:
            return False
        if self._roster.state != self._arranged:
            return True
        return self.waits_for_return and asyncio.get_running_loop().time() >= self._next

    @property
    def waits_for_return(self) -> bool:
        """Return whether a receiver of this program is set aside, and not paused."""
        return any(name in self._receivers - self._paused for name in self._aside)

    @property
    def calls_paused(self) -> bool:
        """Return whether this tenure may call a receiver that was paused after the first read."""
        if self._roster is None:
            return False
        return not self.called.isdisjoint(self._roster.paused)

    @property
    def may_set_aside(self) -> bool:
        """Return whether the next tenure may begin without one of the receivers."""
        return self._roster is not None and self._roster.sets_aside

    @property
    def may_change(self) -> bool:
        """Return whether the arrangement may change without news on the stream."""
        return bool(self._only) or self.waits_for_return

    def may_read(self) -> bool:
        """Return whether the tenure may read on.

        A receiver that has nearly caught up comes back once both groups stand still. That takes a
        moment without reads, which a busy stream never has by itself.
        """
        now = asyncio.get_running_loop().time()
        if not self._is_near:
            return True
        if now >= self._next_hold:
            self._holds_until, self._next_hold = now + _LONGEST_HOLD, now + _BETWEEN_HOLDS
        return now >= self._holds_until

    def handles(self, receiver: str) -> bool:
        """Return whether held rows of a receiver are this tenure's."""
        return receiver == self._only if self._only else receiver not in self._aside

    def left_out(self, entry: EntryId) -> tuple[str, ...]:
        """Return the receivers that are left out of an entry."""
        if entry > self._highest_floor:
            return self._aside
        back = (name for name, floor in self._floors.items() if entry <= floor)
        return (*self._aside, *back)

    async def arrange(self) -> bool:
        """Arrange the receivers at the broker; return whether receivers have come back.

        Raises `LeaseLost`, and `BrokerUnavailable`; safe to repeat.
        """
        roster = self._roster
        if roster is None:
            return False
        state = roster.state
        listed = roster.at(self._partition)
        # Of the receivers that are paused now, those that this tenure cannot have called.
        self._paused = roster.paused & self._paused.union(self._aside)
        called = self._receivers - self._paused - self._slow
        reasons = {**dict.fromkeys(self._slow, SLOW), **dict.fromkeys(self._paused, PAUSED)}
        taking_part = {name: each for name, each in listed.items() if name in called}
        left_out = {name: each for name, each in listed.items() if name not in called}
        gone = roster.gone(self._partition)
        # By the state before and after, not by the answers: the answer that names a receiver may
        # get lost, and its repetition does not name it.
        self._were_aside.update(self._aside)
        arrangement = Arrangement(more=True)
        while arrangement.more:
            arrangement = await self._broker.arrange(
                self._term.lease,
                taking_part,
                left_out,
                gone,
                sets_aside=roster.sets_aside,
                reasons=reasons,
            )
            self._learn(arrangement)
            await self._report(arrangement, {**dict.fromkeys(taking_part, BEHIND), **reasons})
        self._arranged, self._slow = state, frozenset()
        self.gone.update(gone)
        returned = self._were_aside.difference(self._aside)
        self._were_aside.clear()
        pause = _AGAIN if self._is_near else _LATER
        self._next = asyncio.get_running_loop().time() + pause
        return bool(returned)

    def _learn(self, arrangement: Arrangement) -> None:
        self._aside = tuple(sorted(arrangement.aside))
        self._floors = arrangement.floors
        self._highest_floor = max(arrangement.floors.values(), default=START)
        self._is_near = arrangement.near
        self._note_called()

    def _note_called(self) -> None:
        self.called = self._receivers - self._paused.union(self._aside)
        self.wanted = self._receivers - self._paused
        self.is_shared = len(self.wanted) > 1

    async def _report(self, arrangement: Arrangement, reasons: Mapping[str, str]) -> None:
        place = {"group": self._term.group, "partition": str(self._partition)}
        for name in arrangement.set_aside:
            reason = reasons.get(name, MISSING)
            telemetry.emit(catalogue.ReceiverSetAside(receiver=name, reason=reason, **place))
        for name in arrangement.returned:
            telemetry.emit(catalogue.ReceiverReturned(receiver=name, **place))
        for name, count in arrangement.dropped.items():
            telemetry.emit(catalogue.ReceiverDropped(receiver=name, count=count, **place))
        if arrangement.set_aside or arrangement.returned:
            # Workers look for receivers that are set aside. They look now and then in any case.
            with suppress(BrokerError):
                await self._broker.nudge(self._term.group)
