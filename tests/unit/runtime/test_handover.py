"""The handing over of a partition: offers, and what a tenure does about them."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.runtime.handover import BETWEEN, WINDOWS, Handover, Phase, step
from tests.support import Told, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe


class Owner:
    """An owner with a clock; its calls end when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.state = Handover()

    def step(self, *, wanted: bool = True, idle: bool = False, after: float = 0.0) -> Phase:
        self.now += after
        self.state = step(self.state, self.now, wanted=wanted, idle=idle)
        return self.state.phase


def test_a_partition_without_calls_is_given_at_once() -> None:
    assert Owner().step(idle=True) is Phase.GIVEN


def test_a_partition_is_given_when_its_calls_end_during_an_offer() -> None:
    owner = Owner()
    assert owner.step() is Phase.OFFERED
    assert not owner.state.may_begin
    assert owner.step(idle=True, after=WINDOWS[0] / 2) is Phase.GIVEN


def test_an_offer_is_taken_back_and_repeated_and_the_last_one_stands() -> None:
    owner, phases = Owner(), []
    for window in WINDOWS:
        phases.append(owner.step())
        phases.append(owner.step(after=window))
        owner.now += BETWEEN
    assert phases == [Phase.OFFERED, Phase.TAKEN_BACK] * 2 + [Phase.OFFERED, Phase.DRAINING]
    assert owner.step(after=1_000.0) is Phase.DRAINING
    assert not owner.state.may_begin
    assert owner.step(idle=True) is Phase.GIVEN


def test_calls_that_end_between_two_offers_change_nothing() -> None:
    owner = Owner()
    owner.step()
    owner.step(after=WINDOWS[0])
    assert owner.state.may_begin
    assert owner.step(idle=True) is Phase.TAKEN_BACK
    assert owner.step(idle=True, after=BETWEEN) is Phase.GIVEN


def test_an_owner_that_keeps_its_partition_after_all_goes_on() -> None:
    owner = Owner()
    owner.step()
    assert owner.step(wanted=False) is Phase.KEPT
    assert owner.state == Handover(), "the next worker gets as many offers"
    owner.step(idle=True)
    assert owner.step(wanted=False) is Phase.GIVEN, "there is no way back"


def test_the_last_call_begins_within_a_second_and_a_half() -> None:
    assert sum(WINDOWS[:-1]) + BETWEEN * (len(WINDOWS) - 1) < 1.5


Steps = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.0, 0.6)), max_size=60)


@given(Steps)
def test_whatever_happens_a_partition_is_given_without_calls_only(steps: Any) -> None:
    owner = Owner()
    for wanted, idle, after in steps:
        before = owner.state
        phase = owner.step(wanted=wanted, idle=idle, after=after)
        assert owner.state.offers <= len(WINDOWS)
        if phase is Phase.GIVEN:
            assert before.phase is Phase.GIVEN or (idle and wanted)
        elif wanted and idle:
            assert phase is Phase.TAKEN_BACK, "nothing keeps the partition but a pause"
            assert owner.state.until > owner.now
        assert owner.state.may_begin == (phase in (Phase.KEPT, Phase.TAKEN_BACK))


@given(st.lists(st.floats(0.0, 0.3), min_size=1, max_size=100))
def test_an_owner_that_always_works_drains_in_the_end(pauses: list[float]) -> None:
    owner = Owner()
    began = owner.now
    for after in pauses:
        phase = owner.step(after=after)
        # A pause may come late, and every phase with it.
        if owner.now - began > sum(WINDOWS) + (BETWEEN + 0.3) * 2 * len(WINDOWS):
            assert phase is Phase.DRAINING


# A tenure


class Slow:
    """A receiver whose calls take a while; counts those that were cancelled."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.cancelled = 0

    def receiver(self) -> Any:
        async def slow(sender: Any, event: Any, **kwargs: Any) -> None:
            self.begun.append(event.sequence)
            try:
                await asyncio.sleep(self.seconds)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            self.finished.append(event.sequence)

        return slow


async def test_a_call_that_outlasts_every_offer_finishes_and_begins_no_other_at_the_end() -> None:
    broker, slow = MemoryBroker(), Slow(2.5)
    await publish(broker, *(event("1", n) for n in range(1, 4)))
    group = Group(broker, subscribe(slow.receiver()), grace=0.0)
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: slow.begun == [1])
        tenure.hand_over(True)
        await tenure.wait()
    assert slow.finished == [1]
    assert slow.begun == [1]
    assert not slow.cancelled
    assert not tenure.lost
    (notice,) = told.of("partition.draining")
    assert notice["calls"] == 1
    assert await group.pending() == 2


async def test_rows_go_on_between_offers_and_after_an_offer_that_was_taken_back() -> None:
    broker, long = MemoryBroker(), Slow(3_600.0)
    seen: list[int] = []
    begin_long = long.receiver()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        if event.subject == "long":
            await begin_long(sender, event=event)
        seen.append(event.sequence)

    await publish(broker, event("long", 1))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: long.begun == [1])
    tenure.hand_over(True)
    await publish(broker, event("2", 2))
    tenure.wake()
    await asyncio.sleep(0.1)
    assert not seen, "no call begins while the partition is offered"
    await eventually(lambda: seen == [2], "the offer was taken back")
    tenure.hand_over(False)
    await publish(broker, event("2", 3))
    tenure.wake()
    await eventually(lambda: seen == [2, 3])
    assert not long.cancelled
    tenure.finish(0.0)
    await tenure.wait()
    assert long.cancelled == 1, "the end of the process has its own rule"


async def test_work_that_waits_for_a_slot_goes_on_after_an_offer() -> None:
    broker, slow = MemoryBroker(), Slow(0.2)
    await publish(broker, *(event(str(n), n) for n in range(1, 8)))
    group = Group(broker, subscribe(slow.receiver()), concurrency=2)
    tenure = await group.begin()
    await eventually(lambda: len(slow.begun) == 2)
    tenure.hand_over(True)
    tenure.hand_over(False)
    await eventually(lambda: len(slow.finished) == 7)
    await group.end(tenure)
    assert not group.tools.receivers.full


async def test_a_tenure_in_doubt_lets_its_calls_finish_however_long_they_take() -> None:
    broker, slow = MemoryBroker(), Slow(0.4)
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(slow.receiver()), grace=0.0)
    tenure = await group.begin()
    await eventually(lambda: slow.begun == [1])
    tenure.finish()
    await tenure.wait()
    assert slow.finished == [1]
    assert not slow.cancelled
