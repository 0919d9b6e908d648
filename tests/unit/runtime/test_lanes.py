from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.runtime.lanes import MOST, Lane, Lanes
from edgy_bus.runtime.load import Load


class Number(int):
    """A job of as many bytes."""

    @property
    def size(self) -> int:
        return int(self)


def taken(lanes: Lanes[Number]) -> Lane[Number]:
    lane = lanes.take()
    assert lane is not None
    return lane


def test_a_lane_keeps_its_order_and_is_gone_when_it_is_empty() -> None:
    lanes: Lanes[Number] = Lanes(Load(1_000, 1_000))
    lanes.add(("1", "r"), Number(1))
    lanes.add(("1", "r"), Number(2))
    lane = taken(lanes)
    assert list(lane.jobs) == [1, 2]
    lanes.finish(lane)
    assert list(taken(lanes).jobs) == [2]
    lanes.finish(lane)
    assert lanes.take() is None
    assert lanes.room(1) == 1


def test_a_lane_that_runs_is_not_taken_again() -> None:
    lanes: Lanes[Number] = Lanes(Load(1_000, 1_000))
    lanes.add(("1", "r"), Number(1))
    lane = taken(lanes)
    lanes.add(("1", "r"), Number(2))
    assert lanes.take() is None
    lanes.give_back(lane)
    assert lanes.take() is lane


def test_lanes_take_turns() -> None:
    lanes: Lanes[Number] = Lanes(Load(1_000, 1_000))
    for row in ("1", "2"):
        lanes.add((row, "r"), Number(1))
        lanes.add((row, "r"), Number(2))
    order = []
    while lane := lanes.take():
        order.append((lane.key[0], lane.jobs[0]))
        lanes.finish(lane)
    assert order == [("1", 1), ("2", 1), ("1", 2), ("2", 2)]


def test_a_blocked_lane_leaves_room_for_others() -> None:
    lanes: Lanes[Number] = Lanes(Load(1_000, 1_000))
    lanes.add(("1", "r"), Number(1))
    lanes.add(("1", "r"), Number(2))
    assert lanes.room(2) == 0
    lane = taken(lanes)
    lanes.block(lane)
    assert lanes.room(2) == 2
    lanes.add(("1", "r"), Number(3))
    assert lanes.room(2) == 2
    assert not lanes.ready
    lanes.unblock(lane)
    assert lanes.room(2) == 0
    assert lanes.ready


def test_blocked_lanes_do_not_grow_without_bounds() -> None:
    lanes: Lanes[Number] = Lanes(Load(1_000, 1_000))
    lanes.add(("1", "r"), Number(0))
    lanes.block(taken(lanes))
    for number in range(MOST - 1):
        lanes.add(("1", "r"), Number(number))
    assert lanes.room(100) == 0


class Weighed:
    """A job that counts how often somebody asks for its size."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def size(self) -> int:
        self.asked += 1
        return 10


def test_the_cost_of_a_job_does_not_grow_with_its_lane() -> None:
    load = Load(1_000_000, 1_000_000)
    lanes: Lanes[Weighed] = Lanes(load)
    jobs = [Weighed() for _ in range(1_000)]
    for job in jobs:
        lanes.add(("1", "r"), job)
    while lane := lanes.take():
        lanes.block(lane)
        lanes.unblock(lane)
        taken = lanes.take()
        assert taken is lane
        lanes.block(lane)
        lanes.finish_blocked(lane)
    assert (load.active, load.waiting) == (0, 0)
    assert max(job.asked for job in jobs) < 10


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "add",
                    "take",
                    "finish",
                    "give_back",
                    "block",
                    "stall",
                    "unblock",
                    "finish_blocked",
                ]
            ),
            st.integers(0, 2),
        )
    )
)
def test_a_lane_is_ready_running_or_blocked_and_the_counts_are_those_of_the_jobs(
    steps: list[tuple[str, int]],
) -> None:
    load = Load(1_000, 1_000)
    lanes: Lanes[Number] = Lanes(load)
    running: list[Lane[Number]] = []
    blocked: list[Lane[Number]] = []
    jobs: dict[str, list[int]] = {"0": [], "1": [], "2": []}
    for count, (step, number) in enumerate(steps):
        if step == "add":
            lanes.add((str(number), f"r{number % 2}"), Number(count))
            jobs[str(number)].append(count)
        elif step == "take" and (lane := lanes.take()):
            assert lane not in running + blocked
            assert list(lane.jobs) == jobs[lane.key[0]]
            running.append(lane)
        elif step == "unblock" and blocked:
            lanes.unblock(blocked.pop(0))
        elif step == "finish_blocked" and blocked:
            lane = blocked.pop(0)
            lanes.finish_blocked(lane)
            jobs[lane.key[0]].pop(0)
        elif step in ("finish", "give_back", "block", "stall") and running:
            lane = running.pop(0)
            getattr(lanes, step)(lane)
            if step in ("block", "stall"):
                blocked.append(lane)
                assert lane.stalled == (step == "stall")
            elif step == "finish":
                jobs[lane.key[0]].pop(0)
        assert all(lane.size == sum(lane.jobs) for lane in running + blocked)
    waiting = sum(len(lane.jobs) for lane in blocked)
    assert lanes.total == sum(map(len, jobs.values()))
    assert lanes.active == lanes.total - waiting
    of_receivers = {"r0": len(jobs["0"]) + len(jobs["2"]), "r1": len(jobs["1"])}
    assert lanes.jobs_by_receiver() == {name: jobs for name, jobs in of_receivers.items() if jobs}
    assert load.waiting == lanes.waiting == sum(sum(lane.jobs) for lane in blocked)
    assert lanes.stalled == sum(lane.stalled for lane in blocked)
    assert load.active == sum(map(sum, jobs.values())) - load.waiting
    while lane := lanes.take():
        running.append(lane)
    assert all(lane.size == sum(lane.jobs) for lane in running + blocked)
    assert {lane.key[0] for lane in running + blocked} == {
        row for row, known in jobs.items() if known
    }
    lanes.drop()
    assert (load.active, load.waiting) == (0, 0)
    for lane in running:
        lanes.finish(lane)
    assert (load.active, load.waiting) == (0, 0), "a call that goes on does not count twice"
