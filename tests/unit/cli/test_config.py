"""`edgy-bus config`: numbers with their defaults, and versions; never an address."""

import sys

import pytest

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.operations import settings_of
from tests.unit.cli.support import run


@pytest.mark.usefixtures("bus")
def test_every_number_is_shown_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    status, output, _ = run(capsys, "config", "--json")
    data = loads(output.encode())["data"]
    named = {f"{each['topic']}.{each['name']}": each for each in data["settings"]}
    wanted = {"events": edgy.EventSettings, "relaying": edgy.RelaySettings}
    wanted["working"] = edgy.WorkerSettings
    assert set(named) == {
        f"{topic}.{name}" for topic, kind in wanted.items() for name in kind.model_fields
    }
    assert named["working.concurrency"]["default"] == 64
    assert "at the same time" in named["working.concurrency"]["description"]
    assert (status, data["service"]) == (0, "accounts")
    assert {"Python", "edgy_bus", "redis", "pydantic"} <= data["versions"].keys()


def test_only_changed_numbers_are_shown_if_asked(
    bus: edgy.Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "every number has its default" in run(capsys, "config", "--changed")[1]
    bus.working = edgy.WorkerSettings(concurrency=8)
    lines = run(capsys, "config", "--changed")[1].splitlines()
    assert lines[0].startswith("service accounts, group accounts, broker MemoryBroker")
    assert lines[-1].split()[:3] == ["working.concurrency", "8*", "64"]
    assert len([line for line in lines if "working." in line]) == 1


@pytest.mark.usefixtures("bus")
def test_an_address_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys.modules["program"], "bus", edgy.Bus("redis://ada:hush@example.net", service="accounts")
    )
    for words in ((), ("--json",)):
        status, output, errors = run(capsys, "config", *words)
        assert status == 0
        assert "RedisBroker" in output
        assert not any(part in output + errors for part in ("hush", "ada", "example.net"))


def test_a_setting_is_changed_if_it_is_not_the_default() -> None:
    [changed] = [
        each
        for each in settings_of({"events": edgy.EventSettings(partitions=4)})
        if each.is_changed
    ]
    assert (changed.topic, changed.name, changed.value, changed.default) == (
        "events",
        "partitions",
        4,
        8,
    )
