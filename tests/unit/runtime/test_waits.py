"""Calls that wait for a time are counted until then."""

from edgy_bus.runtime.waits import WaitingCalls, Waits


def test_calls_wait_until_their_time() -> None:
    waits = Waits()
    for due in (30.0, 10.0, 20.0):
        waits.add("send", due)
    waits.add("index", 15.0)
    assert list(waits.at(9.0)) == [WaitingCalls("send", 3, 10.0), WaitingCalls("index", 1, 15.0)]
    assert list(waits.at(15.0)) == [WaitingCalls("send", 2, 20.0)]
    assert list(waits.at(30.0)) == []
    waits.add("send", 40.0)
    assert list(waits.at(31.0)) == [WaitingCalls("send", 1, 40.0)]
