from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.runtime.lanes import HELD, Lanes


def test_a_lane_keeps_its_order_and_is_gone_when_it_is_empty() -> None:
    lanes: Lanes[int] = Lanes()
    lane = lanes.add(("1", "r"), 1)
    assert lane is not None
    assert lanes.add(("1", "r"), 2) is None
    assert list(lane.jobs) == [1, 2]
    lanes.finish(lane)
    assert list(lane.jobs) == [2]
    lanes.finish(lane)
    assert ("1", "r") not in lanes
    assert lanes.add(("1", "r"), 3) is not None


def test_a_blocked_lane_leaves_room_for_others() -> None:
    lanes: Lanes[int] = Lanes()
    lane = lanes.add(("1", "r"), 1)
    assert lane is not None
    lanes.add(("1", "r"), 2)
    assert lanes.room(2) == 0
    lanes.block(lane)
    assert lanes.room(2) == 2
    lanes.add(("1", "r"), 3)
    assert lanes.room(2) == 2
    lanes.unblock(lane)
    assert lanes.room(2) == 0


def test_blocked_lanes_do_not_grow_without_bounds() -> None:
    lanes: Lanes[int] = Lanes()
    lane = lanes.add(("1", "r"), 0)
    assert lane is not None
    lanes.block(lane)
    for number in range(HELD - 1):
        lanes.add(("1", "r"), number)
    assert lanes.room(100) == 0


@given(st.lists(st.tuples(st.sampled_from(["add", "finish", "block", "unblock"]), st.integers(0, 2))))
def test_the_counts_are_those_of_the_jobs(steps: list[tuple[str, int]]) -> None:
    lanes: Lanes[int] = Lanes()
    known = {}
    for step, number in steps:
        key = (str(number), "r")
        if step == "add":
            lane = lanes.add(key, 0)
            known[key] = lane or known[key]
        elif key in lanes:
            getattr(lanes, step)(known[key])
    alive = [lane for key, lane in known.items() if key in lanes]
    assert lanes.total == sum(len(lane.jobs) for lane in alive)
    assert lanes.ready == sum(len(lane.jobs) for lane in alive if not lane.blocked)
