"""Write each notice as a single log line, at the level of the catalogue, with any field values."""

import logging

import pytest

from edgy_bus import telemetry
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.telemetry import catalogue

RETRIED = catalogue.ReceiverRetried(
    group="mail",
    receiver="app.mail",
    event="accounts.User.post_save",
    event_id="e1",
    attempts=1,
    reason="ValueError: no\nsuch\x1b[31m user",
)


def test_a_notice_is_one_line_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    stop = log_telemetry()
    try:
        with caplog.at_level(logging.INFO, logger="edgy_bus"):
            telemetry.emit(RETRIED)
    finally:
        stop()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "receiver.retried group=mail receiver=app.mail event=accounts.User.post_save event_id=e1 "
        "attempts=1 reason='ValueError: no such [31m user'"
    )


def test_after_the_end_nothing_is_written(caplog: pytest.LogCaptureFixture) -> None:
    log_telemetry()()
    with caplog.at_level(logging.DEBUG, logger="edgy_bus"):
        telemetry.emit(RETRIED)
    assert caplog.records == []


def test_frequent_notices_are_not_written_by_default(caplog: pytest.LogCaptureFixture) -> None:
    stop = log_telemetry()
    try:
        with caplog.at_level(logging.INFO, logger="edgy_bus"):
            telemetry.emit(catalogue.RelayPublished(partition="accounts.User:0", count=3))
    finally:
        stop()
    assert caplog.records == []


def test_a_notice_is_written_once_however_many_ask_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = log_telemetry(), log_telemetry()
    with caplog.at_level(logging.INFO, logger="edgy_bus"):
        telemetry.emit(RETRIED)
        first()
        first()
        telemetry.emit(RETRIED)
        second()
        telemetry.emit(RETRIED)
    assert len(caplog.records) == 2
