"""`edgy-bus backfill`: the plan, the progress, and what the command refuses."""

import asyncio
import json
import sys
from types import ModuleType

import pytest

import edgy_bus as edgy
from edgy_bus import operations
from edgy_bus.brokers.base import Enlisted
from edgy_bus.cli.sending import pace
from edgy_bus.operations import Advance
from tests.unit.cli.support import prepare_outbox, run_words

COMMAND = ("backfill", "program:bus", "User", "--to", "search/index")


@pytest.fixture
def service(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> edgy.Bus:
    """The bus `program:bus` of a service with three users, and a receiver of another program."""
    program = ModuleType("program")
    bus = edgy.Bus("memory://", service="accounts")
    registry = users = edgy.Registry(sqlite_url, bus=bus)

    @bus.on_start
    async def refuse() -> None:
        pytest.fail("an operator's command started the service")

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = users

    prepare_outbox(bus)
    broker = bus.broker
    assert broker is not None

    async def fill() -> None:
        async with registry.database:
            await registry.database.create_tables(registry.metadata)
            for key in range(1, 4):
                await registry.database.run(User.meta.table.insert().values(id=key))
        receiver = Enlisted("index", ("accounts.User.post_save",))
        await broker.enlist("search", [receiver], 60, begins=True)

    asyncio.run(fill())
    vars(program)["bus"] = bus
    monkeypatch.setitem(sys.modules, "program", program)
    return bus


@pytest.mark.usefixtures("service")
def test_the_plan_comes_first_and_then_what_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (*COMMAND, "--where", "id__gte=2", "--rate", "1000")
    status, out, err = run_words(capsys, *words, "--dry-run")
    assert (status, err) == (0, "")
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert ["rows", "2 of accounts.User"] in lines
    assert ["where", "id__gte=2"] in lines
    assert ["workers", "no live worker has the receiver: events wait"] in lines
    assert out.endswith("would send 2 rows to search/index\n")
    status, out, _ = run_words(capsys, *words, "--yes")
    assert status == 0
    assert out.endswith("wrote 2 events for search/index; relays publish them\n")
    assert run_words(capsys, *COMMAND[:2], "--list") == (0, "no backfill is unfinished\n", "")


@pytest.mark.usefixtures("service")
def test_a_program_gets_the_result_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run_words(capsys, *COMMAND, "--yes", "--json", "--as", "ana")
    data = {"model": "accounts.User", "to": "search/index", "where": []}
    assert status == 0
    assert json.loads(out)["data"] == {**data, "events": 3, "done": 3, "total": 3}
    status, out, _ = run_words(capsys, "actions", "program:bus", "--json")
    (action,) = json.loads(out)["data"]["actions"]
    assert (action["operator"], action["choice"]) == ("ana", "accounts.User")
    assert action["result"] == "wrote 3 events for 3 rows"


@pytest.mark.usefixtures("service")
def test_a_condition_is_in_the_log_without_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    run_words(capsys, *COMMAND, "--where", "id__gte=2", "--yes")
    _, out, _ = run_words(capsys, "actions", "program:bus", "--json")
    (action,) = json.loads(out)["data"]["actions"]
    assert action["choice"] == "accounts.User where id__gte"


@pytest.mark.usefixtures("service")
def test_without_a_row_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*COMMAND, "--where", "id=9", "--yes")
    assert run_words(capsys, *words) == (1, "", "no row of accounts.User matches\n")


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--to", "search/index"), "name the model and its receiver"),
        (("User",), "name the model and its receiver"),
        ((*COMMAND[2:], "--resume", "--restart"), "write either --resume or --restart"),
        (COMMAND[2:], "Error: to send 3 rows to search/index, add --yes"),
        ((*COMMAND[2:], "--rate", "0"), "Invalid value for '--rate'"),
        ((*COMMAND[2:], "--page", "5000"), "Invalid value for '--page'"),
    ],
)
def test_a_command_that_is_not_clear_does_nothing(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], text: str
) -> None:
    status, _, err = run_words(capsys, *COMMAND[:2], *words)
    assert status == 2
    assert text in err


def test_an_interrupted_backfill_says_how_it_goes_on(
    capsys: pytest.CaptureFixture[str], service: edgy.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    backfill = operations.backfill

    async def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operations, "backfill", interrupted)
    status, _, err = run_words(capsys, *COMMAND, "--yes")
    monkeypatch.setattr(operations, "backfill", backfill)
    again = "edgy-bus backfill program:bus accounts.User --to search/index --resume"
    assert (status, err) == (1, f"interrupted; continue with: {again}\n")


def test_a_log_gets_a_line_of_progress_now_and_then(
    capsys: pytest.CaptureFixture[str], service: edgy.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgy_bus.cli.sending._EVERY", 0.0)
    _, _, err = run_words(capsys, *COMMAND, "--yes", "--page", "2")
    first, second = err.splitlines()
    assert first.startswith("2 of 3 rows  ")
    assert second.startswith("3 of 3 rows  ")
    assert second.endswith("0:00:00 left")


def test_progress_is_a_rate_and_a_remaining_time() -> None:
    assert pace(Advance(0, 9), "rows") == ""
    assert pace(Advance(3, 9, 1.5, 4.0), "rows") == "1.5 rows/s, 0:00:04 left"
    assert pace(Advance(0, 9, waits="no relay"), "rows") == "waiting: no relay"


def test_a_bus_in_local_mode_is_refused(
    capsys: pytest.CaptureFixture[str], service: edgy.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("program.bus", edgy.Bus())
    status, _, err = run_words(capsys, *COMMAND, "--yes")
    assert status == 2
    assert "this bus is in local mode" in err
