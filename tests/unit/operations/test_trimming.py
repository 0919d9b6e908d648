"""What keeps entries in their streams."""

from edgy_bus.brokers.base import Pause, Trip
from edgy_bus.operations import AsideStatus, GroupStatus, trimming_obstacles


def group(name: str, **values: object) -> GroupStatus:
    usual = {
        "workers": ("one",), "owners": {"one": 3}, "streams": 3, "lag": 10, "counted": True,
        "unfinished": 1, "seconds": 5.0, "dead": 0, "held": 0, "unowned": 0,
    }  # fmt: skip
    return GroupStatus(name, **{**usual, **values})  # type: ignore[arg-type]


PAUSE = Pause(None, "anna: the mail server is away")


def test_a_group_that_works_is_no_obstacle() -> None:
    rested = group("rested", workers=(), lag=0, seconds=0.0)
    assert trimming_obstacles([group("mail", seconds=9e9), rested]) == ()
    assert trimming_obstacles([group("mail", pause=PAUSE, lag=0)]) == ()


def test_groups_that_do_not_finish_their_entries_are_named() -> None:
    groups = [
        group("audit", workers=(), seconds=60.0, unowned=3),
        group("mail", pause=PAUSE, seconds=90.0),
        group("search", unowned=2, seconds=30.0),
    ]
    shown = [(each.group, each.receiver, each.why) for each in trimming_obstacles(groups)]
    assert shown == [
        ("mail", "", "the group is paused"),
        ("audit", "", "no worker is alive"),
        ("search", "", "2 of its streams have no owner"),
    ]


def test_receivers_that_are_set_aside_keep_the_bytes_of_their_streams() -> None:
    aside = {
        "app.broken": AsideStatus(2, 7, 50.0, 2000),
        "app.paused": AsideStatus(1, 8, 40.0, 1000),
        "app.slow": AsideStatus(1, 9, 30.0, 500),
        "app.done": AsideStatus(1, 0, 0.0, 100),
    }
    trip = Trip(9.0, 60.0, 1, "ConnectionError")
    view = group("mail", aside=aside, paused={"app.paused": PAUSE}, tripped={"app.broken": trip})
    shown = [
        (each.receiver, each.why, each.lag, each.seconds, each.streams, each.size)
        for each in trimming_obstacles([view])
    ]
    assert shown == [
        ("app.broken", "set aside, its breaker is open", 7, 50.0, 2, 2000),
        ("app.paused", "paused", 8, 40.0, 1, 1000),
        ("app.slow", "set aside", 9, 30.0, 1, 500),
    ]
