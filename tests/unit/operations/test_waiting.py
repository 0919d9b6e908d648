"""Calls that wait, summed up over the workers that are alive."""

from datetime import UTC, datetime

from edgy_bus.brokers.base import Members
from edgy_bus.codec import dumps
from edgy_bus.operations.waiting import Waiting, reports_of, waiting_in


def report(**calls: list[float]) -> bytes:
    return dumps({"protocol": 3, "at": 1795827799.0, "calls": calls})


MEMBERS = Members(
    alive=["a", "b", "old", "silent"],
    reports={
        "a": report(send=[1, 5, 2, 1795827899.0], index=[1, 1, 1, 1795827999.0]),
        "b": report(send=[1, 5, 1, 1795827800.0]),
        "old": dumps({"protocol": 3, "receivers": ["send"]}),
        "gone": report(send=[1, 5, 9, 1795827700.0]),
    },
)


def test_live_workers_count_and_the_first_call_is_shown() -> None:
    reports = reports_of(MEMBERS)
    assert waiting_in(reports) == Waiting(4, datetime.fromtimestamp(1795827800, UTC))
    assert waiting_in(reports, "send") == Waiting(3, datetime.fromtimestamp(1795827800, UTC))
    assert waiting_in(reports, "index") == Waiting(1, datetime.fromtimestamp(1795827999, UTC))
    assert waiting_in(reports, "none") == Waiting()


def test_a_time_that_another_program_wrote_is_left_out() -> None:
    members = Members(["a"], {"a": report(send=[0, 0, 1, 1e300], index=[0, 0, 1, -5.0])})
    assert waiting_in(reports_of(members)) == Waiting(2, None)
