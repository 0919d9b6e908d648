"""Streams in trouble: how long they are left alone, and what is reported."""

import pytest

from edgy_bus.errors import BrokerError, BrokerUnavailable, DatabaseError, DatabaseUnavailable
from edgy_bus.outbox.troubles import Troubles, Work
from tests.support import PARTITION, Told
from tests.unit.outbox.support import OTHER


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def troubles(clock: Clock) -> Troubles:
    return Troubles(clock, longest=1.0)


def fail(troubles: Troubles, text: str = "WRONGTYPE", work: Work = Work.PUBLISHING) -> set[object]:
    with troubles.of(PARTITION, work):
        raise BrokerError(text)
    return set(troubles.avoided(work))


def succeed(troubles: Troubles, work: Work = Work.PUBLISHING) -> None:
    with troubles.of(PARTITION, work):
        pass


def test_a_stream_is_left_alone_for_a_pause_that_grows_to_its_limit(
    troubles: Troubles, clock: Clock
) -> None:
    pauses = []
    for _ in range(7):
        assert fail(troubles) == {PARTITION}
        begun = clock.now
        while troubles.avoided(Work.PUBLISHING):
            clock.now += 0.01
        pauses.append(clock.now - begun)
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0], abs=0.02)
    succeed(troubles)
    fail(troubles)
    clock.now += 0.06
    assert not troubles.avoided(Work.PUBLISHING), "the pause begins anew after a success"


def test_an_error_is_reported_once_until_it_changes(troubles: Troubles) -> None:
    with Told() as told:
        for text in ("a", "a", "b", "b"):
            fail(troubles, text)
        succeed(troubles)
        succeed(troubles)
        fail(troubles, "b")
    assert told.names() == ["stream.failed"] * 2 + ["stream.recovered", "stream.failed"]
    assert told.all[0][1] == {
        "partition": str(PARTITION),
        "work": "publishing",
        "error": "BrokerError: a",
    }


def test_a_stream_has_recovered_when_no_work_on_it_fails_any_more(troubles: Troubles) -> None:
    with Told() as told:
        fail(troubles)
        fail(troubles, work=Work.REPAIRING)
        succeed(troubles)
        assert "stream.recovered" not in told.names()
        succeed(troubles, Work.REPAIRING)
    assert told.names()[-1] == "stream.recovered"


def test_work_avoids_streams_in_the_trouble_that_it_names(troubles: Troubles) -> None:
    fail(troubles, work=Work.TIDYING)
    assert troubles.avoided(Work.PUBLISHING, Work.REPAIRING) == set()
    assert troubles.avoided(*Work) == {PARTITION}


def test_what_the_database_refuses_to_store_is_the_trouble_of_the_stream(
    troubles: Troubles,
) -> None:
    with troubles.of(OTHER, Work.REPAIRING):
        raise DatabaseError("out of range")
    assert troubles.avoided(Work.REPAIRING) == {OTHER}


@pytest.mark.parametrize("outage", [BrokerUnavailable("away"), DatabaseUnavailable("away")])
def test_an_outage_is_no_trouble_of_a_stream(troubles: Troubles, outage: Exception) -> None:
    with pytest.raises(type(outage)), troubles.of(PARTITION, Work.PUBLISHING):
        raise outage
    assert troubles.avoided(*Work) == set()
