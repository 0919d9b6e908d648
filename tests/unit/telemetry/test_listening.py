"""Every listener receives every notice, no matter what another listener does."""

import pytest

from edgy_bus import telemetry
from edgy_bus.telemetry import Notice, catalogue

NOTICE = catalogue.RelayPublished(partition="accounts.User:0", count=1)


def test_a_listener_receives_notices_until_it_is_removed() -> None:
    received: list[Notice] = []
    stop = telemetry.listen(received.append)
    telemetry.emit(NOTICE)
    stop()
    stop()
    telemetry.emit(NOTICE)
    assert received == [NOTICE]


def test_a_listener_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fails(notice: Notice) -> None:
        raise RuntimeError("no")

    received: list[Notice] = []
    stops = [telemetry.listen(fails), telemetry.listen(received.append)]
    telemetry.emit(NOTICE)
    for stop in stops:
        stop()
    assert received == [NOTICE]
    assert "a telemetry listener failed on relay.published" in caplog.text
