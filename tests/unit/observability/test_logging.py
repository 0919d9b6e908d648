"""Write each notice as a single log line, at the level of the catalogue, with any field values."""

import logging
import logging.config
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO

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
    follows="attempt 2 in 0.5 s",
    trace="  mail.py:3 in greet\n  ValueError: no such [31m user",
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
        "attempts=1 reason='ValueError: no such [31m user' follows='attempt 2 in 0.5 s'"
    )


def test_a_traceback_stands_below_the_line(caplog: pytest.LogCaptureFixture) -> None:
    stop = log_telemetry()
    try:
        with caplog.at_level(logging.INFO, logger="edgy_bus"):
            telemetry.emit(RETRIED)
    finally:
        stop()
    (record,) = caplog.records
    lines = logging.Formatter("%(levelname)s %(message)s").format(record).splitlines()
    assert lines[0].startswith("WARNING receiver.retried group=mail ")
    assert lines[1:] == ["  mail.py:3 in greet", "  ValueError: no such [31m user"]


def test_a_quiet_failure_is_written_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    quiet = replace(RETRIED, quiet=True, trace="")
    stop = log_telemetry()
    try:
        with caplog.at_level(logging.INFO, logger="edgy_bus"):
            telemetry.emit(quiet)
        assert caplog.records == []
        with caplog.at_level(logging.DEBUG, logger="edgy_bus"):
            telemetry.emit(quiet)
        assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    finally:
        stop()


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


def test_a_field_of_any_length_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    stop = log_telemetry()
    try:
        with caplog.at_level(logging.INFO, logger="edgy_bus"):
            telemetry.emit(catalogue.RelayFailed(service="mail", outbox="1", error="x" * 3_000_000))
            telemetry.emit(catalogue.RelayFailed(service="mail", outbox="1", error="x" * 2_000))
    finally:
        stop()
    long, short = (record.getMessage() for record in caplog.records)
    assert len(long) < 3_000
    assert long.endswith("x…")
    assert short.endswith("x" * 2_000)


# An application that sets up logging, at any time


@pytest.fixture
def plain_logging() -> Iterator[None]:
    """Restores what a configuration of logging changes."""
    root, ours = logging.getLogger(), logging.getLogger("edgy_bus")
    handlers, level, disabled = root.handlers[:], root.level, ours.disabled
    yield
    root.handlers[:], root.level, ours.disabled = handlers, level, disabled


def _set_up(stream: StringIO) -> None:
    """Set up logging as the documentation of Python and Django does."""
    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {"console": {"class": "logging.StreamHandler", "stream": stream}},
            "root": {"handlers": ["console"], "level": "INFO"},
        }
    )


@pytest.mark.usefixtures("plain_logging")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_configuration_that_disables_other_loggers_silences_nothing(when: str) -> None:
    stream = StringIO()
    if when == "before":
        _set_up(stream)
    stop = log_telemetry()
    try:
        if when == "after":
            _set_up(stream)
        assert logging.getLogger("edgy_bus").disabled
        telemetry.emit(RETRIED)
    finally:
        stop()
    assert stream.getvalue().startswith("receiver.retried group=mail")


@pytest.mark.usefixtures("plain_logging")
def test_the_level_of_the_logger_silences_what_is_not_wanted() -> None:
    stream = StringIO()
    _set_up(stream)
    stop = log_telemetry()
    try:
        logging.getLogger("edgy_bus").setLevel(logging.CRITICAL)
        telemetry.emit(RETRIED)
    finally:
        logging.getLogger("edgy_bus").setLevel(logging.NOTSET)
        stop()
    assert stream.getvalue() == ""


@pytest.mark.usefixtures("plain_logging")
def test_the_error_of_a_listener_is_written_all_the_same() -> None:
    stream = StringIO()
    _set_up(stream)

    def fail(_: object) -> None:
        raise ValueError("no listener")

    stop = telemetry.listen(fail)
    try:
        telemetry.emit(RETRIED)
    finally:
        stop()
    assert "no listener" in stream.getvalue()
