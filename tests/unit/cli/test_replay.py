"""`edgy-bus replay`: the plan, the consent, and what the command refuses."""

import asyncio
import json
import sys
from types import ModuleType

import pytest

import edgy_bus as edgy
from edgy_bus import operations
from edgy_bus.brokers.base import Enlisted
from tests.unit.cli.support import prepare_outbox, run_words

COMMAND = ("replay", "program:bus", "--to", "search/index")


@pytest.fixture
def service(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> edgy.Bus:
    """The bus `program:bus` of a service with three events, and a receiver of another program."""
    program = ModuleType("program")
    bus = edgy.Bus("memory://", service="accounts", relay=False)
    registry = users = edgy.Registry(sqlite_url, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = users

    prepare_outbox(bus)
    broker = bus.broker
    assert broker is not None

    async def fill() -> None:
        async with bus:
            await registry.create_all()
            for _ in range(3):
                await User.query.create()
            signals = ("accounts.User.post_save", "accounts.User.post_delete")
            await broker.enlist("search", [Enlisted("index", signals)], 60, begins=True)

    asyncio.run(fill())

    @bus.on_start
    async def refuse() -> None:
        pytest.fail("an operator's command started the service")

    vars(program)["bus"] = bus
    monkeypatch.setitem(sys.modules, "program", program)
    return bus


@pytest.mark.usefixtures("service")
def test_the_plan_comes_first_and_then_what_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (*COMMAND, "--model", "User", "--since", "2h", "--rate", "1000")
    status, out, err = run_words(capsys, *words, "--dry-run")
    assert (status, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["events"] == "3 of accounts.User"
    assert lines["where"].startswith("since=")
    assert lines["outbox"].startswith("the outbox keeps events since ")
    assert lines["receivers"] == "search/index"
    assert lines["workers"] == "no live worker has a receiver: events wait"
    assert "beware" not in lines
    assert out.endswith("would send 3 events to search/index again\n")
    status, out, _ = run_words(capsys, *words, "--yes")
    assert status == 0
    assert out.endswith("wrote 3 copies for search/index; relays publish them\n")
    assert run_words(capsys, *COMMAND[:2], "--list") == (0, "no replay is unfinished\n", "")


@pytest.mark.usefixtures("service")
def test_a_choice_that_may_leave_older_states_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run_words(capsys, *COMMAND, "--signal", "post_save", "--dry-run")
    (line,) = [line for line in out.splitlines() if line.startswith("beware")]
    assert line.split(maxsplit=1)[1] == (
        "older states of rows may come last: search/index also gets post_delete, which do not "
        "come again"
    )


@pytest.mark.usefixtures("service")
def test_a_program_gets_the_result_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run_words(capsys, *COMMAND, "--key", "2", "--model", "User", "--json", "--yes")
    assert status == 0
    data = {"to": "search/index", "events": 1, "done": 1, "total": 1}
    assert json.loads(out)["data"] == data
    status, out, _ = run_words(capsys, "actions", "program:bus", "--json")
    (action,) = json.loads(out)["data"]["actions"]
    assert (action["action"], action["choice"]) == ("replay", "accounts.User where key")
    assert action["result"] == "wrote 1 copies of events"


@pytest.mark.usefixtures("service")
def test_without_an_event_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*COMMAND, "--model", "User", "--key", "9", "--yes")
    status, out, err = run_words(capsys, *words)
    assert (status, out) == (1, "")
    assert err.startswith("no event that the outbox has matches; the outbox keeps events since ")


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "name the receiver: --to GROUP/RECEIVER, or --to GROUP"),
        ((*COMMAND[2:], "--resume", "--restart"), "write either --resume or --restart"),
        (COMMAND[2:], "Error: to send 3 events to search/index again, add --yes"),
        ((*COMMAND[2:], "--since", "yesterday"), "'yesterday' is not a time"),
        ((*COMMAND[2:], "--key", "1"), "add --model"),
        ((*COMMAND[2:], "--rate", "0"), "Invalid value for '--rate'"),
    ],
)
def test_a_command_that_is_not_clear_does_nothing(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], text: str
) -> None:
    status, _, err = run_words(capsys, *COMMAND[:2], *words)
    assert status == 2
    assert text in err


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("model", [(), ("--model", "accounts.User")])
def test_an_interrupted_replay_says_how_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: tuple[str, ...]
) -> None:
    async def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operations, "replay", interrupted)
    status, _, err = run_words(capsys, *COMMAND, *model, "--yes")
    again = " ".join(("edgy-bus", *COMMAND, *model, "--resume"))
    assert (status, err) == (1, f"interrupted; continue with: {again}\n")
