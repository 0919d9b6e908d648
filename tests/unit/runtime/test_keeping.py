"""What the keeper of leases decides, with a clock of the test's own."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.runtime.keeping import (
    Blocked,
    EndProcess,
    Freed,
    GivenUp,
    Limits,
    LoopWatch,
    Renewing,
    Sight,
    Stage,
    StoodStill,
    is_due,
    look,
)

LIMITS = Limits(lease=4.0, max_blocked=20.0)
SUPERVISED = Limits(lease=4.0, max_blocked=20.0, supervised=True)
TICK = LIMITS.tick


class Looks:
    """Look every tick, as the keeper does, and keep what was seen."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.now = 100.0
        self.watch = LoopWatch.begin(self.now)
        self.seen: list[Sight] = []

    def for_(self, seconds: float, *, answered: bool) -> "Looks":
        for _ in range(round(seconds / TICK)):
            self.after(TICK, answered=answered)
        return self

    def after(self, seconds: float, *, answered: bool) -> "Looks":
        self.now += seconds
        self.watch, sights = look(self.watch, self.now, self.limits, answered=answered)
        self.seen += sights
        return self

    @property
    def kinds(self) -> list[type[Sight]]:
        return [type(sight) for sight in self.seen]


def test_a_loop_that_answers_is_not_reported() -> None:
    assert Looks().for_(60, answered=True).seen == []


def test_a_short_silence_is_not_reported() -> None:
    assert Looks().for_(0.75, answered=False).for_(1, answered=True).seen == []


def test_a_block_is_reported_once_after_a_second_and_again_when_it_ends() -> None:
    looks = Looks().for_(5, answered=True).for_(7, answered=False).for_(5, answered=True)
    assert looks.seen == [Blocked(1.0), Freed(7.0 + TICK)]


def test_the_next_block_is_reported_again() -> None:
    looks = Looks()
    for _ in range(2):
        looks.for_(2, answered=False).for_(1, answered=True)
    assert looks.kinds == [Blocked, Freed] * 2


def test_a_loop_that_is_blocked_for_long_is_given_up_once() -> None:
    looks = Looks().for_(60, answered=False)
    assert looks.seen == [Blocked(1.0), GivenUp(20.0)]
    assert looks.watch.stage is Stage.GIVEN_UP
    looks.for_(1, answered=True).for_(2, answered=False)
    assert looks.kinds == [Blocked, GivenUp, Freed, Blocked]


def test_a_limit_below_the_time_of_a_report_is_kept() -> None:
    looks = Looks(Limits(lease=4.0, max_blocked=0.5)).for_(2, answered=False)
    assert looks.kinds == [GivenUp]


def test_under_a_supervisor_the_process_ends_when_its_loop_is_given_up() -> None:
    assert Looks(SUPERVISED).for_(19.75, answered=False).kinds == [Blocked]
    looks = Looks(SUPERVISED).for_(20, answered=False)
    assert looks.kinds == [Blocked, GivenUp, EndProcess]


def test_a_process_that_was_suspended_is_not_ended_and_its_loop_not_reported() -> None:
    """The loop had no chance to answer."""
    looks = Looks(SUPERVISED).for_(1, answered=True).after(500, answered=False)
    assert looks.kinds == [StoodStill, GivenUp], "but leases have run out, and none is renewed"
    looks.for_(0.75, answered=False).for_(2, answered=True)
    assert looks.kinds == [StoodStill, GivenUp, Freed]


def test_a_loop_that_is_still_blocked_after_a_standstill_is_ended_in_the_end() -> None:
    looks = Looks(SUPERVISED).after(500, answered=False).for_(20, answered=False)
    assert looks.kinds.count(EndProcess) > 0


def test_code_that_holds_the_lock_again_and_again_does_not_keep_the_leases_for_ever() -> None:
    looks = Looks()
    for _ in range(15):
        looks.after(2, answered=False)
    assert GivenUp in looks.kinds


# Renewals


def due(looks: Looks, asked: float, confirmed: float, waiting: int = 0) -> bool:
    return is_due(Renewing(asked, confirmed, waiting), looks.watch, looks.limits)


def test_a_renewal_follows_the_last_after_a_quarter_of_the_lease() -> None:
    looks = Looks().for_(1, answered=True)
    assert due(looks, looks.now - 1.0, looks.now - 1.0)
    assert not due(looks, looks.now - 0.9, looks.now - 0.9)


def test_a_renewal_without_an_answer_is_followed_by_a_second_but_not_by_a_third() -> None:
    looks = Looks().for_(1, answered=True)
    assert not due(looks, looks.now - 0.4, looks.now - 1.4, waiting=1)
    assert due(looks, looks.now - 0.5, looks.now - 1.5, waiting=1)
    assert not due(looks, looks.now - 0.5, looks.now - 2.0, waiting=2)


@pytest.mark.parametrize("blocked", [5.0, 19.75])
def test_leases_are_renewed_while_the_loop_is_blocked(blocked: float) -> None:
    looks = Looks().for_(blocked, answered=False)
    assert due(looks, looks.now - 1.0, looks.now - 1.0)


def test_nothing_is_renewed_after_the_limit_however_late_the_last_renewal_was() -> None:
    looks = Looks().for_(20, answered=False)
    assert not due(looks, looks.now - 1.0, looks.now - 1.0)
    looks.for_(TICK, answered=True)
    assert due(looks, looks.now - 1.0, looks.now - 1.0), "the loop works again"


def course() -> st.SearchStrategy[list[tuple[float, bool]]]:
    return st.lists(st.tuples(st.sampled_from([TICK, 0.5, 3.0, 30.0]), st.booleans()), max_size=80)


def walk(looks: Looks, steps: list[tuple[float, bool]]) -> Iterator[None]:
    for seconds, answered in steps:
        looks.after(seconds, answered=answered)
        yield


@given(course())
def test_whatever_happens_a_silent_loop_loses_its_leases_and_reports_alternate(
    steps: list[tuple[float, bool]],
) -> None:
    looks, answer = Looks(SUPERVISED), 100.0
    for (_, answered), _ in zip(steps, walk(looks, steps), strict=True):
        answer = looks.now if answered else answer
        may_renew = due(looks, looks.now - 4.0, looks.now - 4.0)
        assert may_renew == (looks.now - answer < SUPERVISED.max_blocked)
    # A block is reported once, then perhaps that the loop is given up, then once that it is over.
    reported: set[type] = set()
    for kind in looks.kinds:
        if kind is Freed:
            assert reported
            reported.clear()
        elif kind in (Blocked, GivenUp):
            assert kind not in reported
            assert GivenUp not in reported
            reported.add(kind)
    # A process ends only if its loop was silent at many looks in a row.
    if EndProcess in looks.kinds:
        assert max(_silences(steps)) >= 20.0


def _silences(steps: list[tuple[float, bool]]) -> Iterator[float]:
    silence = 0.0
    for seconds, answered in steps:
        silence = 0.0 if answered else silence + seconds
        yield silence
