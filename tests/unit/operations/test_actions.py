"""The log of actions: what each action leaves, and that the log stops no action."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import pytest

from edgy_bus.brokers.base import ActionEntry, Broker
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.database import Database
from edgy_bus.errors import BrokerError, BrokerUnavailable, ConfigurationError
from edgy_bus.operations import (
    Parts,
    RecordedAction,
    Replayed,
    Selection,
    actions,
    discard_dead,
    forget,
    held,
    operator_name,
    pause,
    release,
    replay_dead,
    resume,
    selection_of_ids,
)
from edgy_bus.outbox.store import OutboxStore
from tests.support import Told, bury, event, hold

Action = Callable[[Broker], Awaitable[object]]


@pytest.fixture(autouse=True)
def desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator ana at the host desk."""
    monkeypatch.delenv("EDGY_BUS_OPERATOR", raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    monkeypatch.setattr("socket.gethostname", lambda: "desk")


@pytest.fixture
async def parts(sqlite_url: str) -> AsyncIterator[Parts]:
    """A broker with two dead letters and two held rows, and an outbox."""
    broker = MemoryBroker()
    await bury(broker, event("1", 1), event("2", 2), reason="HTTP 503")
    await hold(broker, "7")
    await hold(broker, "8")
    async with Database(sqlite_url) as database:
        store = OutboxStore(database, "accounts")
        await store.prepare()
        yield Parts(broker, "accounts", [store])


async def recorded(broker: Broker) -> list[RecordedAction]:
    return list((await actions(broker, 100)).actions)


async def _release(broker: Broker, *, skip: bool) -> object:
    return await release(broker, (await held(broker, "mail")).rows, skip=skip)


async def _release_one(broker: Broker) -> object:
    return await release(broker, (await held(broker, "mail")).rows[:1])


NEWEST = datetime(2026, 1, 2, tzinfo=UTC)
FILTER = Selection(group="mail", receiver="app.mail", subject="1", since=NEWEST)
SINCE = "key 1, since 2026-01-02T00:00:00+00:00"


@pytest.mark.parametrize(
    ("action", "entry"),
    [
        (
            lambda broker: replay_dead(broker, Selection()),
            ActionEntry("", "dead replay", "", "", "all", 2, "replayed 2 of 2"),
        ),
        (
            lambda broker: replay_dead(broker, FILTER),
            ActionEntry("", "dead replay", "mail", "app.mail", SINCE, 1, "replayed 1 of 1"),
        ),
        (
            lambda broker: discard_dead(broker, Selection(model="accounts.User")),
            ActionEntry("", "dead discard", "", "", "model accounts.User", 2, "discarded 2 of 2"),
        ),
        (
            lambda broker: discard_dead(broker, selection_of_ids(["mail/accounts.User/0/1-1"])),
            ActionEntry(
                "", "dead discard", "", "", "1 ids: mail/accounts.User/0/1-1", 0, "discarded 0 of 0"
            ),
        ),
        (
            lambda broker: _release(broker, skip=True),
            ActionEntry(
                "",
                "release --skip",
                "mail",
                "app.mail",
                "2 rows of accounts.User",
                2,
                "released 2 of 2",
            ),
        ),
        (
            _release_one,
            ActionEntry("", "release", "mail", "app.mail", "accounts.User 7", 1, "released 1 of 1"),
        ),
        (
            lambda broker: pause(broker, "mail", seconds=7200, reason="the server is away"),
            ActionEntry(
                "", "pause", "mail", "", "for 7200 s: the server is away", 0, "paused 0 workers"
            ),
        ),
        (
            lambda broker: pause(broker, "mail", seconds=None),
            ActionEntry("", "pause", "mail", "", "until it is resumed", 0, "paused 0 workers"),
        ),
        (
            lambda broker: resume(broker, "mail"),
            ActionEntry("", "resume", "mail", "", "", 0, "was not paused"),
        ),
    ],
)
async def test_every_action_leaves_an_entry(
    parts: Parts, action: Action, entry: ActionEntry
) -> None:
    await action(parts.broker)
    ((_, kept),) = await parts.broker.actions()
    assert (kept.operator, kept.action, kept.group, kept.receiver) == (
        "ana@desk",
        entry.action,
        entry.group,
        entry.receiver,
    )
    assert (kept.choice, kept.count, kept.result) == (entry.choice, entry.count, entry.result)


async def test_forgetting_leaves_an_entry_with_the_models(parts: Parts) -> None:
    for _ in range(2):
        await forget(parts, "mail", by="ben")
    first, second = await recorded(parts.broker)
    assert (first.operator, first.action, first.group) == ("ben", "group forget", "mail")
    assert (first.choice, first.count, first.result) == (
        "of accounts",
        1,
        "removed from accounts.User",
    )
    assert (second.count, second.result) == (0, "no model knew the group")


async def test_what_was_refused_or_chose_nothing_leaves_no_entry(parts: Parts) -> None:
    with pytest.raises(ConfigurationError):
        await pause(parts.broker, "nobody", seconds=None)
    await release(parts.broker, [])
    assert await recorded(parts.broker) == []


async def test_the_name_is_given_or_of_the_environment_or_of_user_and_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert operator_name() == "ana@desk"
    monkeypatch.setenv("EDGY_BUS_OPERATOR", "on call\n")
    assert operator_name() == "on call"
    assert operator_name("ben\x1b[2J" + "n" * 500).startswith("ben [2Jn")
    assert len(operator_name("n" * 500)) == 200
    monkeypatch.setenv("EDGY_BUS_OPERATOR", " ")
    monkeypatch.setattr("getpass.getuser", _nameless)
    assert operator_name("") == "?@desk"


def _nameless() -> str:
    raise KeyError("uid 1234")


async def _refuse(entry: ActionEntry) -> None:
    raise BrokerError("OOM")


async def test_a_log_that_cannot_be_written_stops_no_action_and_is_reported(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.broker, "record", _refuse)
    with Told() as told:
        assert await replay_dead(parts.broker, Selection()) == Replayed(2, 2)
    assert told.of("action.unrecorded") == [{"action": "dead replay", "error": "BrokerError: OOM"}]


@pytest.mark.parametrize("log_is_away", [False, True])
async def test_an_action_that_failed_leaves_an_entry_and_its_error(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, log_is_away: bool
) -> None:
    async def fail(*_: object) -> None:
        raise BrokerUnavailable("redis://:secret@host is away")

    monkeypatch.setattr(parts.broker, "nudge", fail)
    if log_is_away:
        monkeypatch.setattr(parts.broker, "record", _refuse)
    with pytest.raises(BrokerUnavailable, match="secret"):
        await replay_dead(parts.broker, Selection())
    results = [action.result for action in await recorded(parts.broker)]
    assert results == ([] if log_is_away else ["BrokerUnavailable: perhaps a part is done"])


async def test_an_action_that_is_interrupted_leaves_an_entry(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = asyncio.Event()

    async def hang(group: str) -> None:
        moved.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(parts.broker, "nudge", hang)
    task = asyncio.create_task(_replay(parts.broker))
    await moved.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (action,) = await recorded(parts.broker)
    assert action.result == "CancelledError: perhaps a part is done"


async def _replay(broker: Broker) -> None:
    await replay_dead(broker, Selection())


async def test_an_entry_is_a_bounded_line(parts: Parts) -> None:
    await pause(parts.broker, "mail", seconds=None, reason="a\nb" + "c" * 10_000, by="ben")
    (action,) = await recorded(parts.broker)
    assert action.choice.startswith("until it is resumed: a bccc")
    assert len(action.choice) == 500


async def test_the_view_has_the_latest_actions_the_newest_last(parts: Parts) -> None:
    for name in ("ana", "ben", "eve"):
        await resume(parts.broker, "mail", by=name)
    view = await actions(parts.broker, 2)
    assert [action.operator for action in view.actions] == ["ben", "eve"]
    assert view.actions[0].at.tzinfo is UTC
