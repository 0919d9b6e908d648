"""The last day of a group in steps."""

from datetime import UTC, datetime

from edgy_bus.brokers.base import History, Tally
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.operations import history, history_of_all
from edgy_bus.operations.histories import in_steps

NOON = datetime(2026, 11, 28, 12, 2, 30, tzinfo=UTC)


def test_minutes_are_put_into_steps_of_a_day() -> None:
    minute = int(NOON.timestamp() // 60)
    # This minute, the minute before the step, one hour and a step ago, and before the day.
    ago = {0: Tally(1, 2, 3), 1: Tally(10), 3: Tally(100), 66: Tally(1000), 1440: Tally(5)}
    minutes = {minute - each: tally for each, tally in ago.items()}
    versions = [(NOON.timestamp() - 90_000, "old"), (NOON.timestamp() - 60, "2.0")]
    view = in_steps(History(NOON.timestamp(), minutes, versions))
    assert len(view.steps) == 288
    assert [step.at.strftime("%H:%M") for step in view.steps[-2:]] == ["11:55", "12:00"]
    assert view.steps[0].at == datetime(2026, 11, 27, 12, 5, tzinfo=UTC)
    assert [step.tally for step in view.steps[-2:]] == [Tally(100), Tally(11, 2, 3)]
    assert view.hour == Tally(111, 2, 3)
    assert view.day == Tally(1111, 2, 3)
    assert [change.version for change in view.versions] == ["2.0"]


async def test_a_history_ends_after_a_day() -> None:
    now = NOON.timestamp()
    broker = MemoryBroker(lambda: now)
    await broker.tally("mail", Tally(handled=1), "1.0")
    now += 86_400 - 300
    assert (await history(broker, "mail")).day == Tally(handled=1)
    now += 300
    assert (await history(broker, "mail")).day == Tally()
    await broker.tally("mail", Tally(handled=2))
    assert len(broker._tallies["mail"]) == 1, "what nobody sees takes no memory"
    assert (await history(broker, "mail")).day == Tally(handled=2)


async def test_the_histories_of_groups_are_summed_with_the_versions_of_all() -> None:
    now = NOON.timestamp()
    broker = MemoryBroker(lambda: now)
    await broker.tally("mail", Tally(1, 2, 3), "1.0")
    now += 300
    await broker.tally("search", Tally(10, 20, 30), "7.0")
    await broker.tally("mail", Tally(100))
    await broker.tally("other", Tally(5000), "0.1")
    view = await history_of_all(broker, ["search", "mail"])
    assert [step.tally for step in view.steps[-2:]] == [Tally(1, 2, 3), Tally(110, 20, 30)]
    assert (len(view.steps), view.day) == (288, Tally(111, 22, 33))
    changes = [(change.group, change.version) for change in view.versions]
    assert changes == [("mail", "1.0"), ("search", "7.0")]


async def test_without_a_group_the_day_is_empty() -> None:
    view = await history_of_all(MemoryBroker(), [])
    assert (len(view.steps), view.day, view.versions) == (288, Tally(), ())


async def test_a_step_that_begins_between_two_groups_is_a_step_of_both() -> None:
    now = NOON.timestamp()

    class Slow(MemoryBroker):
        async def history(self, group: str) -> History:
            nonlocal now
            past = await super().history(group)
            now += 300
            return past

    broker = Slow(lambda: now)
    for group in ("mail", "search"):
        await broker.tally(group, Tally(1))
    view = await history_of_all(broker, ["mail", "search"])
    assert (len(view.steps), view.day) == (288, Tally(2))
