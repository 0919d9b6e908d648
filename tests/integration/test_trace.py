"""Traces through a real Redis and real databases: from the commit to what receivers caused."""

import asyncio
import json
import sys
from types import ModuleType
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

import edgy_bus as edgy
from edgy_bus.cli.app import app
from edgy_bus.operations import EventTrace, GroupStage, Journey, Stage, trace_event, trace_row
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.signals import post_save
from tests.integration.test_main_path import WORKING, Accounts
from tests.integration.test_operations import content
from tests.support import eventually

PATIENT = edgy.Retry(attempts=5, delay=3_000, factor=1)


@pytest.fixture
def accounts(redis_url: str, database_url: str, prefix: str) -> Accounts:
    return Accounts(redis_url, database_url, prefix)


def connect(accounts: Accounts) -> None:
    """Connect a receiver that writes, one that is to be called again, and one that gives up."""

    @post_save(accounts.User, name="copy")
    async def copy(sender: Any, instance: Any, **kwargs: Any) -> None:
        if instance.name != "copy":
            await accounts.User.query.create(name="copy")

    @post_save(accounts.User, name="mail", retry=PATIENT)
    async def mail(sender: Any, instance: Any, **kwargs: Any) -> None:
        if instance.name == "ada":
            raise ConnectionError("the mail server is away")

    @post_save(accounts.User, name="ship", retry=edgy.Retry(attempts=1))
    async def ship(sender: Any, instance: Any, **kwargs: Any) -> None:
        if instance.name == "ada":
            raise ValueError("no address")


async def traced(bus: edgy.Bus, event_id: str) -> EventTrace:
    async with bus.operating(databases=True) as parts:
        return await trace_event(parts, event_id)


async def newest(bus: edgy.Bus, key: int) -> Journey:
    async with bus.operating(databases=True) as parts:
        row = await trace_row(parts, "accounts.User", str(key))
    assert row.unreachable == ()
    return row.journeys[-1]


async def test_a_trace_goes_from_the_commit_to_what_receivers_caused(accounts: Accounts) -> None:
    connect(accounts)
    async with accounts.running(worker=False):
        with accounts.bus.context(actor="operator-7"):
            user = await accounts.User.query.create(name="ada")
        journey = await newest(accounts.bus, user.id)
        event_id = journey.event.id
        assert journey.event.context == {"actor": "operator-7"}
        assert journey.outbox is not None

        async with accounts.bus.worker(settings=WORKING):

            async def is_handled() -> bool:
                trace = await traced(accounts.bus, event_id)
                assert trace.journey is not None
                notes = [note for group in trace.journey.groups for note in group.receivers]
                is_noted = {(note.receiver, note.done) for note in notes} >= {
                    ("copy", True),
                    ("mail", False),
                    ("ship", True),
                }
                # The announcement of the operation is caused as well.
                return is_noted and len(trace.caused) == 2 and len(trace.journey.letters) == 1

            await eventually(is_handled, "the notes of the receivers")
            trace = await traced(accounts.bus, event_id)
            journey = await newest(accounts.bus, user.id)
        assert trace.journey is not None
        assert trace.journey.outbox is not None
        assert trace.journey.stream is not None
        assert trace.journey.outbox.stage is Stage.PUBLISHED
        assert trace.journey.stream.present
        [group] = trace.journey.groups
        assert (group.group, group.stage) == ("accounts", GroupStage.UNFINISHED)
        assert group.owner
        mail = next(note for note in group.receivers if note.receiver == "mail")
        assert mail.attempts == 1
        assert mail.due is not None
        assert mail.reason == "ConnectionError: the mail server is away"
        [letter] = trace.journey.letters
        assert (letter.receiver, letter.event_id) == ("ship", event_id)
        assert "no address" in letter.reason
        announced, effect = trace.caused
        assert (announced.signal, effect.signal) == ("pre_save", "post_save")
        assert (effect.causation, effect.context) == (event_id, {"actor": "operator-7"})
        assert journey.event.id == event_id
        assert (trace.unreachable, trace.gaps) == ((), ())


async def test_looking_changes_nothing(
    accounts: Accounts, redis_client: Redis, prefix: str
) -> None:
    async with accounts.running(worker=False):
        user = await accounts.User.query.create(name="ada")

        async def is_published() -> bool:
            return await accounts.backlog() == 0

        await eventually(is_published, "the event in its stream")
    before = await content(redis_client, prefix)
    journey = await newest(accounts.bus, user.id)
    trace = await traced(accounts.bus, journey.event.id)
    assert trace.journey is not None
    assert trace.journey.stream is not None
    assert trace.journey.groups == (), "no group has read the stream"
    assert await content(redis_client, prefix) == before


def program(monkeypatch: pytest.MonkeyPatch, bus: edgy.Bus) -> str:
    module = ModuleType("somewhere")
    vars(module)["bus"] = bus
    monkeypatch.setitem(sys.modules, "somewhere", module)
    return "somewhere:bus"


def test_a_database_that_is_away_is_named_and_the_other_is_read(
    redis_url: str, sqlite_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = edgy.Bus(redis_url, service="accounts", prefix=prefix)
    registry = edgy.Registry(sqlite_url, bus=bus)
    store = OutboxStore(registry.database, "accounts")
    edgy.Registry("postgresql://nobody@127.0.0.1:1/away", bus=bus)

    async def write() -> None:
        async with registry.database:
            await store.prepare()
            row = {"model": "accounts.User", "label": "0", "event_id": "e-1"}
            rest = {"signal": "post_save", "subject": "1", "time": "", "data": "{}"}
            async with store.database.transaction():
                await store.append([{**row, **rest}])

    asyncio.run(write())
    target = program(monkeypatch, bus)
    result = CliRunner().invoke(app, ["trace", target, "e-1", "--json"])
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert answer["data"]["journey"]["outbox"]["stage"] == "pending"
    [away] = answer["data"]["unreachable"]
    assert "outbox postgresql://127.0.0.1/away: " in away
    assert CliRunner().invoke(app, ["trace", target, "e-2"]).exit_code == 3


def test_a_broker_that_is_away_leaves_the_outbox(
    sqlite_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = edgy.Bus("redis://127.0.0.1:1", service="accounts", prefix=prefix)
    edgy.Registry(sqlite_url, bus=bus)
    result = CliRunner().invoke(app, ["trace", program(monkeypatch, bus), "e-1"])
    assert result.exit_code == 3
    assert "could not be looked at: the broker: " in result.stderr
