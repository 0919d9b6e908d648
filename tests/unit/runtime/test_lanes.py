from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.runtime.lanes import MOST, Lane, Lanes


def taken(lanes: Lanes[int]) -> Lane[int]:
    lane = lanes.take()
    assert lane is not None
    return lane


def test_a_lane_keeps_its_order_and_is_gone_when_it_is_empty() -> None:
    lanes: Lanes[int] = Lanes()
    lanes.add(("1", "r"), 1)
    lanes.add(("1", "r"), 2)
    lane = taken(lanes)
    assert list(lane.jobs) == [1, 2]
    lanes.finish(lane)
    assert list(taken(lanes).jobs) == [2]
    lanes.finish(lane)
    assert ("1", "r") not in lanes
    assert lanes.take() is None


def test_a_lane_that_runs_is_not_taken_again() -> None:
    lanes: Lanes[int] = Lanes()
    lanes.add(("1", "r"), 1)
    lane = taken(lanes)
    lanes.add(("1", "r"), 2)
    assert lanes.take() is None
    lanes.give_back(lane)
    assert lanes.take() is lane


def test_lanes_take_turns() -> None:
    lanes: Lanes[int] = Lanes()
    for row in ("1", "2"):
        lanes.add((row, "r"), 1)
        lanes.add((row, "r"), 2)
    order = []
    while lane := lanes.take():
        order.append((lane.key[0], lane.jobs[0]))
        lanes.finish(lane)
    assert order == [("1", 1), ("2", 1), ("1", 2), ("2", 2)]


def test_a_blocked_lane_leaves_room_for_others() -> None:
    lanes: Lanes[int] = Lanes()
    lanes.add(("1", "r"), 1)
    lanes.add(("1", "r"), 2)
    assert lanes.room(2) == 0
    lane = taken(lanes)
    lanes.block(lane)
    assert lanes.room(2) == 2
    lanes.add(("1", "r"), 3)
    assert lanes.room(2) == 2
    assert not lanes.ready
    lanes.unblock(lane)
    assert lanes.room(2) == 0
    assert lanes.ready


def test_blocked_lanes_do_not_grow_without_bounds() -> None:
    lanes: Lanes[int] = Lanes()
    lanes.add(("1", "r"), 0)
    lanes.block(taken(lanes))
    for number in range(MOST - 1):
        lanes.add(("1", "r"), number)
    assert lanes.room(100) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "finish", "give_back", "block", "unblock"]),
            st.integers(0, 2),
        )
    )
)
def test_a_lane_is_ready_running_or_blocked_and_the_counts_are_those_of_the_jobs(
    steps: list[tuple[str, int]],
) -> None:
    lanes: Lanes[int] = Lanes()
    running: list[Lane[int]] = []
    blocked: list[Lane[int]] = []
    jobs: dict[str, list[int]] = {"0": [], "1": [], "2": []}
    for count, (step, number) in enumerate(steps):
        if step == "add":
            lanes.add((str(number), "r"), count)
            jobs[str(number)].append(count)
        elif step == "take" and (lane := lanes.take()):
            assert lane not in running + blocked
            assert list(lane.jobs) == jobs[lane.key[0]]
            running.append(lane)
        elif step == "unblock" and blocked:
            lanes.unblock(blocked.pop(0))
        elif step in ("finish", "give_back", "block") and running:
            lane = running.pop(0)
            getattr(lanes, step)(lane)
            if step == "block":
                blocked.append(lane)
            elif step == "finish":
                jobs[lane.key[0]].pop(0)
    waiting = sum(len(lane.jobs) for lane in blocked)
    assert lanes.total == sum(map(len, jobs.values()))
    assert lanes.active == lanes.total - waiting
    while lane := lanes.take():
        running.append(lane)
    assert {lane.key[0] for lane in running + blocked} == {
        row for row, known in jobs.items() if known
    }
