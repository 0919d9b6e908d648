"""Telemetry becomes log lines: one line each, at a level that fits, whatever was in the fields."""

import logging

import pytest

from edgy_bus import telemetry
from edgy_bus.observability.logging import log_telemetry


def test_an_event_is_one_line_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    stop = log_telemetry()
    try:
        with caplog.at_level(logging.INFO, logger="edgy_bus"):
            telemetry.emit(
                "receiver.retried", receiver="app.mail", reason="ValueError: no\nsuch\x1b[31m user"
            )
    finally:
        stop()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage()
        == "receiver.retried receiver=app.mail reason='ValueError: no such [31m user'"
    )


def test_after_the_end_nothing_is_written(caplog: pytest.LogCaptureFixture) -> None:
    log_telemetry()()
    with caplog.at_level(logging.DEBUG, logger="edgy_bus"):
        telemetry.emit("relay.failed", part="relay")
    assert caplog.records == []


def test_what_happens_all_the_time_is_not_written_by_default(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop = log_telemetry()
    try:
        with caplog.at_level(logging.INFO, logger="edgy_bus"):
            telemetry.emit("relay.published", count=3)
    finally:
        stop()
    assert caplog.records == []
