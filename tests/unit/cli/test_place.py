"""Where an operator's command works, and the envelope of its answer."""

import asyncio
import json

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.cli import operating
from edgy_bus.cli.place import Address, find_place
from edgy_bus.errors import ConfigurationError
from tests.support import hold
from tests.unit.cli.support import run_words as run

SECRET = "redis://:pass-word@127.0.0.1:1/0"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """The broker of `--broker memory://`, which outlasts a command."""
    broker = MemoryBroker()
    monkeypatch.setattr(operating, "make_broker", lambda url, prefix: broker)
    return broker


def test_a_place_is_a_bus_or_the_broker_of_an_option_or_of_the_environment(
    bus: edgy.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, words = find_place(["program:bus", "a:b"], Address(None, "edgy"))
    assert (place.bus, place.group, words) == (bus, "accounts", ["a:b"])
    place, words = find_place(["accounts.User"], Address("memory://", "mine"))
    assert (place.bus, place.url, place.prefix, words) == (
        None,
        "memory://",
        "mine",
        ["accounts.User"],
    )
    monkeypatch.setenv("EDGY_BUS_BROKER", "memory://environment")
    assert find_place([], Address(None, "edgy"))[0].url == "memory://environment"
    assert find_place(["program:bus"], Address(None, "edgy"))[0].bus is bus


@pytest.mark.parametrize(
    ("words", "url"), [([], None), (["program:bus"], SECRET), ([SECRET], None)]
)
def test_a_place_that_is_missing_or_ambiguous_is_refused_without_a_password(
    words: list[str], url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGY_BUS_BROKER", raising=False)
    with pytest.raises(ConfigurationError, match="--broker") as caught:
        find_place(words, Address(url, "edgy"))
    assert "pass-word" not in str(caught.value)


def test_a_broker_alone_shows_the_rows_of_every_group(
    alone: MemoryBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    for group in ("mail", "audit"):
        asyncio.run(hold(alone, "42", group=group))
    status, out, _ = run(capsys, "held", "--broker", "memory://")
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()] == ["group", "audit", "mail"]
    status, _, err = run(capsys, "release", "--all", "--broker", "memory://")
    assert (status, "--group GROUP" in err) == (2, True)
    words = ("accounts.User", "42", "--group", "mail", "--broker", "memory://")
    assert run(capsys, "release", *words)[0] == 0
    assert run(capsys, "held", "--broker", "memory://", "--group", "mail")[0] == 0, (
        "a row that is released waits for nobody"
    )


def test_json_comes_in_one_envelope(
    alone: MemoryBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(hold(alone, "42"))
    status, out, err = run(capsys, "held", "--broker", "memory://", "--json")
    envelope = json.loads(out)
    assert {name: envelope[name] for name in ("format", "command", "exit")} == {
        "format": 1,
        "command": "held",
        "exit": 1,
    }
    assert (status, err) == (1, "")
    (row,) = envelope["data"]["rows"]
    assert (row["model"], row["subject"], row["released"]) == ("accounts.User", "42", False)


def test_an_outage_is_status_3_in_the_envelope_too_and_shows_no_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    away = "unix://:pass-word@/nowhere/redis.sock"
    status, out, err = run(capsys, "held", "--broker", away, "--json")
    envelope = json.loads(out)
    assert (status, envelope["exit"]) == (3, 3)
    assert envelope["error"] in err
    assert "pass-word" not in out + err
