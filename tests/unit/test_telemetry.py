"""Telling what happened: to every listener, whatever one of them does."""

from typing import Any

import pytest

from edgy_bus import telemetry


def test_every_listener_hears_until_it_is_taken_away() -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    stop = telemetry.listen(lambda name, fields: heard.append((name, fields)))
    telemetry.emit("part.what", count=1)
    stop()
    stop()
    telemetry.emit("part.what", count=2)
    assert heard == [("part.what", {"count": 1})]


def test_a_listener_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fails(name: str, fields: dict[str, Any]) -> None:
        raise RuntimeError("no")

    heard: list[str] = []
    stops = [telemetry.listen(fails), telemetry.listen(lambda name, _: heard.append(name))]
    telemetry.emit("part.what")
    for stop in stops:
        stop()
    assert heard == ["part.what"]
    assert "a telemetry listener failed on part.what" in caplog.text
