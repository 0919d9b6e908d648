"""Decide how the owner of a partition hands the partition over to another worker.

An arrival of another worker cancels no call. The owner offers the partition: it reads no more and
begins no call, until all its calls have ended or the offer is over. Then it takes the offer back,
goes on, and offers again. Where calls are long and rows always have work, no offer would ever
succeed: the owner lets the last offer stand, and begins no call until all have ended.

A pure state machine; `Tenure` keeps its state and the time.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum, auto

WINDOWS = (1.0, 0.25, 0.25)
"""Seconds that each offer lasts. The first suits calls of ordinary length. The others are short:
the new worker has its share within the longest call and two seconds."""

BETWEEN = 0.05
"""Seconds between two offers, in which calls begin."""


class Phase(Enum):
    """Say what the owner does with the partition."""

    KEPT = auto()
    """No other worker should have the partition."""
    OFFERED = auto()
    """No call begins; the offer ends at a set time."""
    TAKEN_BACK = auto()
    """Calls begin; the next offer follows at a set time."""
    DRAINING = auto()
    """No call begins until all have ended."""
    GIVEN = auto()
    """All calls have ended: the partition is handed over."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Hold the state of a handover.

    Attributes:
        phase: what the owner does.
        until: when the phase ends by itself, in seconds of the caller's clock.
        offers: how many offers were made since another worker should have the partition.
    """

    phase: Phase = Phase.KEPT
    until: float = math.inf
    offers: int = 0

    @property
    def may_begin(self) -> bool:
        """Return whether calls may begin."""
        return self.phase in (Phase.KEPT, Phase.TAKEN_BACK)


def step(state: Handover, now: float, *, wanted: bool, idle: bool) -> Handover:
    """Return the next state.

    Args:
        state: the state so far.
        now: the time.
        wanted: whether another worker should have the partition.
        idle: whether no call runs. A released row that waits for its next attempt is no call.
    """
    if state.phase is Phase.GIVEN:
        return state
    if not wanted:
        return Handover()
    if state.phase is Phase.KEPT or (state.phase is Phase.TAKEN_BACK and now >= state.until):
        state = _offer(state, now)
    if idle and not state.may_begin:
        return replace(state, phase=Phase.GIVEN, until=math.inf)
    if state.phase is Phase.OFFERED and now >= state.until:
        return _end_offer(state, now)
    return state


def _offer(state: Handover, now: float) -> Handover:
    return Handover(Phase.OFFERED, now + WINDOWS[state.offers], state.offers + 1)


def _end_offer(state: Handover, now: float) -> Handover:
    if state.offers < len(WINDOWS):
        return replace(state, phase=Phase.TAKEN_BACK, until=now + BETWEEN)
    return replace(state, phase=Phase.DRAINING, until=math.inf)
