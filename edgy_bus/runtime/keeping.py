"""Decide what the keeper of leases does next. Pure functions of a state, the time and the limits.

The keeper looks at its work every `Limits.tick` seconds. The event loop that runs the receivers
answers between two looks, unless a receiver blocks the loop.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

REPORT_AFTER = 1.0
"""Seconds without an answer of the event loop after which the blocking code is reported."""

_AT_ONCE = 2
"""Renewals that wait for their answers at the same time. The second has another connection."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Hold the times that the keeper works by, in seconds.

    Args:
        lease: how long a lease lasts.
        max_blocked: how long leases are renewed while the event loop does not answer.
        supervised: whether a supervisor starts another process when this process ends.
    """

    lease: float
    max_blocked: float
    supervised: bool = False

    @property
    def tick(self) -> float:
        """Return the time between two looks."""
        return min(0.25, self.lease / 16)

    @property
    def pause(self) -> float:
        """Return the time between a renewal that was answered and the next."""
        return self.lease / 4

    @property
    def patience(self) -> float:
        """Return the time without an answer after which another connection tries."""
        return self.lease / 8

    @property
    def answer(self) -> float:
        """Return the longest time that a renewal waits for its answer."""
        return self.lease / 2


# The event loop


class Stage(Enum):
    """Say what is known about the event loop."""

    FREE = auto()
    BLOCKED = auto()
    GIVEN_UP = auto()
    """Blocked for longer than `max_blocked`: nothing is renewed until the loop answers."""


@dataclass(frozen=True, slots=True)
class LoopWatch:
    """Remember the answers of the event loop.

    Attributes:
        looked: when the keeper looked last.
        beat: when the keeper saw the loop's last answer.
        since: as `beat`, but later by the time in which the keeper itself stood still.
        stage: what is known about the loop.
    """

    looked: float
    beat: float
    since: float
    stage: Stage = Stage.FREE

    @classmethod
    def begin(cls, now: float) -> "LoopWatch":
        """Return the state at the keeper's start."""
        return cls(now, now, now)


@dataclass(frozen=True, slots=True)
class Blocked:
    """The event loop has not answered for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Freed:
    """The event loop answers again after a block that was reported."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The event loop has not answered for `max_blocked`: leases run out from here on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StoodStill:
    """Neither the keeper nor the loop ran: the process was stopped, or C code held the GIL."""

    seconds: float


@dataclass(frozen=True, slots=True)
class EndProcess:
    """End the process: its supervisor starts another that works."""


Sight = Blocked | Freed | GivenUp | StoodStill | EndProcess


def look(
    watch: LoopWatch, now: float, limits: Limits, *, answered: bool
) -> tuple[LoopWatch, list[Sight]]:
    """Return the next state, and what has to be reported or done.

    Args:
        watch: the state after the last look.
        now: the time of this look.
        limits: the times to keep.
        answered: whether the event loop has answered since the last look.
    """
    sights: list[Sight] = []
    late = now - watch.looked - limits.tick
    if late < REPORT_AFTER:
        late = 0.0
    else:
        sights.append(StoodStill(late))
    if answered:
        if watch.stage is not Stage.FREE:
            sights.append(Freed(now - watch.beat))
        return LoopWatch.begin(now), sights
    # A process that was suspended and goes on has a loop that had no chance to answer. Such a loop
    # is not reported, and its process is not ended.
    watch = replace(watch, looked=now, since=watch.since + late)
    stage, news = _judged(watch, limits)
    return replace(watch, stage=stage), sights + news


def _judged(watch: LoopWatch, limits: Limits) -> tuple[Stage, list[Sight]]:
    """Return the stage of a loop that does not answer, and what follows from a new stage."""
    silent, blocked = watch.looked - watch.beat, watch.looked - watch.since
    ending: list[Sight] = []
    if limits.supervised and blocked >= limits.max_blocked:
        ending.append(EndProcess())
    if silent >= limits.max_blocked:
        news: list[Sight] = [] if watch.stage is Stage.GIVEN_UP else [GivenUp(silent)]
        return Stage.GIVEN_UP, news + ending
    if watch.stage is Stage.FREE and blocked >= REPORT_AFTER:
        return Stage.BLOCKED, [Blocked(silent), *ending]
    return watch.stage, ending


# The leases


@dataclass(frozen=True, slots=True)
class Renewing:
    """Say how far the renewals are.

    Attributes:
        asked: when the newest renewal began.
        confirmed: when the newest renewal that was answered began.
        waiting: how many renewals wait for their answers.
    """

    asked: float
    confirmed: float
    waiting: int


def is_due(renewing: Renewing, watch: LoopWatch, limits: Limits) -> bool:
    """Return whether another renewal begins now."""
    now = watch.looked
    # Counted from the loop's last answer, and not from a renewal: a loop that blocks for ever would
    # keep its partitions for ever.
    if now - watch.beat >= limits.max_blocked:
        return False
    if renewing.waiting >= _AT_ONCE or now - renewing.asked < limits.patience:
        return False
    return now - renewing.confirmed >= limits.pause
