"""The log of actions: kept in order, with the broker's time, and bounded."""

from edgy_bus.brokers.base import ACTIONS, ActionEntry, Broker

ENTRY = ActionEntry("ana@desk", "dead replay", "mail", "app.send", "all: é \udcff\n", 3, "done")


class ActionLogTopic:
    """The latest actions are returned as they were recorded, the newest last."""

    async def test_actions_are_returned_in_order_with_the_brokers_time(
        self, broker: Broker
    ) -> None:
        assert list(await broker.actions()) == []
        bare = ActionEntry("ben", "resume")
        for entry in (ENTRY, bare):
            await broker.record(entry)
        now = (await broker.facts()).now
        (first, kept), (second, last) = await broker.actions()
        assert kept.count == ENTRY.count
        # A broker may replace what UTF-8 cannot encode, and nothing else.
        assert kept.choice.encode("utf-8", "replace") == b"all: \xc3\xa9 ?\n"
        assert last == bare
        assert now - 60 < first <= second <= now + 1

    async def test_the_latest_actions_are_chosen(self, broker: Broker) -> None:
        for number in range(5):
            await broker.record(ActionEntry("ana", "pause", count=number))
        assert [entry.count for _, entry in await broker.actions(2)] == [3, 4]

    async def test_old_actions_make_room(self, broker: Broker) -> None:
        for number in range(ACTIONS + 300):
            await broker.record(ActionEntry("ana", "pause", count=number))
        counts = [entry.count for _, entry in await broker.actions(ACTIONS + 300)]
        assert counts[-ACTIONS:] == list(range(300, ACTIONS + 300))
        assert len(counts) <= ACTIONS + 200
