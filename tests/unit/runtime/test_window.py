from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.brokers.base import Lease
from edgy_bus.events import Partition
from edgy_bus.runtime.window import Window

LEASE = Lease(Partition("accounts.User", "0"), "mail", "one", 1, "epoch")


def test_the_last_events_are_known_and_memory_is_bounded() -> None:
    course = Window(10).course(LEASE)
    for number in range(100):
        course.finish(str(number), "r")
        last = range(max(0, number - 9), number + 1)
        assert all(course.has_finished(str(each), "r") for each in last)
    assert not course.has_finished("99", "other")
    assert sum(course.has_finished(str(number), "r") for number in range(100)) <= 20


def test_a_course_goes_on_with_the_next_tenure_if_nobody_had_the_partition_between() -> None:
    window = Window(10)
    window.course(LEASE).finish("e", "r")
    next_one = replace(LEASE, owner="two", former="one")
    assert window.course(LEASE).has_finished("e", "r")
    assert window.course(next_one).has_finished("e", "r")
    assert window.course(replace(LEASE, owner="three", former="two")).has_finished("e", "r")
    assert not window.course(replace(LEASE, owner="five", former="four")).has_finished("e", "r")


def test_a_broker_that_counts_tenures_anew_is_not_believed() -> None:
    """With the number of a later tenure, another process has had the partition meanwhile."""
    window = Window(10)
    window.course(LEASE).finish("e", "r")
    again = replace(LEASE, owner="other", former="of another process")
    assert not window.course(again).has_finished("e", "r")


def test_in_another_epoch_or_partition_nothing_is_known() -> None:
    window = Window(10)
    window.course(LEASE).finish("e", "r")
    other = replace(LEASE, partition=Partition("accounts.User", "1"))
    assert not window.course(other).has_finished("e", "r")
    assert window.course(LEASE).has_finished("e", "r")
    assert not window.course(replace(LEASE, former="one", owner="two", epoch="other")).has_finished(
        "e", "r"
    )


def test_a_new_event_is_never_skipped_and_a_repeat_may_be() -> None:
    course = Window(10).course(LEASE)
    assert not course.may_skip(1, "a")
    assert course.may_skip(1, "a")
    assert course.may_skip(None, "a"), "an event without a position"
    assert course.may_skip(1, None), "an event without a row"


def test_behind_an_older_event_that_is_called_again_nothing_of_its_row_is_skipped() -> None:
    course = Window(10).course(LEASE)
    for sequence, row in enumerate("abab", 1):
        course.may_skip(sequence, row)
    assert course.may_skip(1, "a")
    course.repeat("a")
    assert course.may_skip(2, "b")
    assert not course.may_skip(3, "a")
    assert not course.may_skip(5, "b"), "a new event"
    assert not course.may_skip(3, "a"), "a new event of another row"
    assert not course.may_skip(6, "a"), "a new event"
    assert course.may_skip(6, "a"), "the repeats of the row are over"


@given(st.lists(st.tuples(st.integers(1, 12), st.sampled_from("xy")), max_size=40))
def test_no_receiver_is_left_with_an_older_state_than_it_had(
    tenures: list[tuple[int, str]],
) -> None:
    """Two processes read the stream again, from anywhere, and remember four events each."""
    windows = {"x": Window(2), "y": Window(2)}
    last, newest = dict[str, int](), dict[str, int]()
    former = ""
    for number, (start, process) in enumerate(tenures):
        owner = f"{process}{number}"
        course = windows[process].course(replace(LEASE, owner=owner, former=former))
        former = owner
        for sequence in range(start, 13):
            row = "ab"[sequence % 2]
            if course.may_skip(sequence, row):
                if course.has_finished(str(sequence), "r"):
                    continue
                course.repeat(row)
            course.finish(str(sequence), "r")
            last[row] = sequence
            newest[row] = max(sequence, newest.get(row, 0))
        assert last.items() <= newest.items()
