"""Writes what the library tells about itself to Python's logging, one line each, under the logger `edgy_bus`."""

import logging
from collections.abc import Callable
from typing import Any

from edgy_bus import telemetry

_logger = logging.getLogger("edgy_bus")

_LEVELS = {
    "broker.unavailable": logging.WARNING,
    "database.unavailable": logging.WARNING,
    "broker.evicts": logging.WARNING,
    "outbox.not_durable": logging.WARNING,
    "relay.failed": logging.ERROR,
    "relay.resynchronised": logging.WARNING,
    "relay.restored": logging.WARNING,
    "relay.relabelled": logging.WARNING,
    "service.failed": logging.ERROR,
    "consumer.failed": logging.ERROR,
    "session.lost": logging.WARNING,
    "session.doubt": logging.INFO,
    "session.missing": logging.ERROR,
    "receiver.retried": logging.WARNING,
    "receiver.gave_up": logging.ERROR,
    "stream.foreign": logging.ERROR,
    "stream.waits": logging.WARNING,
    "announcer.dropped": logging.DEBUG,
    "relay.published": logging.DEBUG,
    "partition.taken": logging.DEBUG,
    "partition.released": logging.DEBUG,
}


def log_telemetry() -> Callable[[], None]:
    """Begin; the function returned ends it. Values are written as they are told: names, numbers and reasons, no payloads."""

    def write(name: str, fields: dict[str, Any]) -> None:
        level = _LEVELS.get(name, logging.INFO)
        if _logger.isEnabledFor(level):
            _logger.log(
                level,
                "%s %s",
                name,
                " ".join(f"{key}={_plain(value)}" for key, value in fields.items()),
            )

    return telemetry.listen(write)


def _plain(value: Any) -> str:
    """On one line and without control characters, whatever an error or a stream entry contained."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return repr(text) if " " in text else text
