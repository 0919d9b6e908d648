"""Any value whatever that is given to an outcome or an option is refused clearly, or behaves."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgy_bus.errors import ConfigurationError
from edgy_bus.retrying import LONGEST, Bury, Retry, RetryLater, Snooze, dead_letter, retry, snooze
from edgy_bus.runtime.outcome import Again, Failed, GiveUp, Note, decide, pack_notes, unpack_notes
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from edgy_bus.signals import Batch, Options


class Unprintable:
    def __repr__(self) -> str:
        raise LookupError

    def __str__(self) -> str:
        raise LookupError


class LateText:
    def __str__(self) -> str:
        return "a translation"


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 10**15, 2**63, 0]),
    st.floats(),
    st.floats(0, LONGEST),
    st.text(),
    st.binary(),
    st.decimals(),
    st.fractions(),
    st.timedeltas(),
    st.complex_numbers(),
    st.lists(st.integers(), max_size=3),
    st.sampled_from([object(), Unprintable(), LateText(), float, Retry, Retry(), ValueError("no")]),
)


def made(make: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Return what is made, None if it is refused with a clear text."""
    try:
        return make(*arguments, **keywords)
    except ConfigurationError as error:
        text = str(error)
    assert 0 < len(text) < 400
    return None


def is_wait(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= LONGEST


@given(ANYTHING)
def test_a_wait_is_refused_or_is_a_wait(value: Any) -> None:
    for make in (snooze, lambda after: retry(after=after), Snooze, RetryLater):
        outcome = made(make, value)
        if outcome is None:
            continue
        decision = decide(outcome, Note(), Retry(jitter=0), now=1e9)
        assert isinstance(decision, Again)
        assert is_wait(decision.note.wait)
        assert not isinstance(value, bool)
        notes = {"r": decision.note}
        assert unpack_notes("e", pack_notes("e", notes)) == notes


@given(ANYTHING)
def test_the_reason_of_a_dead_letter_is_refused_or_is_bounded_text(value: Any) -> None:
    try:
        outcome = dead_letter(value)
    except (ConfigurationError, LookupError):
        assert not isinstance(value, str | BaseException)
        return
    assert type(outcome.reason) is str
    assert len(outcome.reason) <= 2_000
    assert decide(outcome, Note(), Retry(), now=1e9) == GiveUp(1, outcome.reason)


def test_a_late_text_is_a_reason() -> None:
    assert dead_letter(LateText()) == Bury("a translation")
    assert len(dead_letter("x" * 10_000).reason) == 2_000


@given(
    st.dictionaries(
        st.sampled_from(["attempts", "delay", "factor", "ceiling", "jitter"]), ANYTHING
    ),
    st.integers(1, 2_000_000),
)
def test_a_policy_is_refused_or_answers_waits(keywords: dict[str, Any], failed: int) -> None:
    policy = made(Retry, **keywords)
    if policy is None:
        return
    wait = policy.wait(failed)
    assert wait is None if failed >= policy.attempts else is_wait(wait)
    assert 0 <= policy.longest() <= policy.attempts * policy.ceiling
    decision = decide(Failed("no"), Note(), policy, now=1e9)
    assert isinstance(decision, Again | GiveUp)


@given(ANYTHING)
def test_an_option_is_refused_or_in_range(value: Any) -> None:
    for keyword in ("deadline", "retry", "batch", "name", "ordered", "on_exhausted"):
        options = made(Options, **{keyword: value})
        deadline = None if options is None else options.deadline
        assert deadline is None or (is_wait(deadline) and deadline > 0)


@given(ANYTHING, ANYTHING)
def test_a_batch_is_refused_or_in_range(size: Any, wait: Any) -> None:
    batch = made(Batch, size, wait)
    if batch is None:
        return
    assert type(batch.size) is int
    assert batch.size >= 1
    assert is_wait(batch.wait)


SETTINGS = [
    (kind, name)
    for kind in (EventSettings, RelaySettings, WorkerSettings)
    for name in kind.model_fields
]


@given(st.sampled_from(SETTINGS), ANYTHING)
def test_a_setting_is_refused_or_a_number(setting: tuple[Any, str], value: Any) -> None:
    kind, name = setting
    try:
        settings = kind(**{name: value})
    except ValidationError:
        return
    kept = getattr(settings, name)
    assert kept is None or (math.isfinite(kept) and 0 <= kept <= 10**12)
    assert type(value) is not bool
    assert not isinstance(value, str | bytes | timedelta)


@pytest.mark.parametrize("raw", [b'["e",{"r":[1,1e400,0,0]}]', b'["e",{"r":[-5,1e300,0,0,-1]}]'])
def test_notes_of_any_kind_give_a_wait(raw: bytes) -> None:
    for note in unpack_notes("e", raw).values():
        assert note.attempts >= 0
        assert 0 <= note.remaining(1e9) <= LONGEST


@given(st.floats(0, LONGEST), st.floats(-1e9, 1e9), st.floats(0, 1e6))
def test_no_step_of_a_clock_makes_a_wait_longer(wait: float, step: float, passed: float) -> None:
    note = Note(1, 2e9 + wait, wait=wait)
    remaining = note.remaining(2e9 + passed + step)
    assert 0 <= remaining <= wait
    # With clocks that agree, the rest of the wait is left.
    left = note.remaining(2e9 + passed)
    assert left == pytest.approx(max(0.0, wait - passed), abs=1e-3)
