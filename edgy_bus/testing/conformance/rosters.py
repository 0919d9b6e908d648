"""Rosters: the receivers of a group, whichever program has them."""

from edgy_bus.brokers.base import Broker, Enlisted

SEND = Enlisted("app.send", ("accounts.User.post_delete", "accounts.User.post_save"))
INDEX = Enlisted("app.index", ("accounts.Profile.post_save",))
LONG = 3600.0


class RosterTopic:
    """The roster of a group lists the receivers of all its programs."""

    async def test_a_roster_lists_the_receivers_of_every_program(self, broker: Broker) -> None:
        first = await broker.enlist("mail", [SEND], LONG, begins=True)
        second = await broker.enlist("mail", [INDEX], LONG, begins=True)
        assert (first.added, second.added) == (["app.send"], ["app.index"])
        assert second.receivers.keys() == {"app.send", "app.index"}
        assert second.receivers["app.send"].signals == SEND.signals
        assert second.receivers["app.index"].models == {"accounts.Profile"}
        assert (await broker.roster("mail")).receivers == second.receivers
        assert (await broker.roster("search")).receivers == {}

    async def test_workers_learn_that_the_roster_has_changed(self, broker: Broker) -> None:
        # Another version for each change, and the same version otherwise.
        versions = []
        for receivers in ([SEND], [SEND], [INDEX], [SEND, INDEX]):
            roster = await broker.enlist("mail", receivers, LONG, begins=True)
            members = await broker.join("mail", "w", 30, b"")
            assert members.roster == roster.version != ""
            versions.append(roster.version)
        assert versions[0] == versions[1] != versions[2] == versions[3]

    async def test_a_receiver_of_a_new_group_begins_with_what_is_kept(self, broker: Broker) -> None:
        late = Enlisted("app.late", SEND.signals, "now")
        roster = await broker.enlist("mail", [SEND, late], LONG, begins=True)
        starts = {name: each.start for name, each in roster.receivers.items()}
        assert starts == {"app.send": "kept", "app.late": "now"}
        # What was decided stays.
        again = await broker.enlist("mail", [Enlisted("app.late", SEND.signals)], LONG, begins=True)
        assert again.receivers["app.late"].start == "now"
        assert again.added == []

    async def test_a_program_that_begins_says_its_signals_and_others_say_that_they_run(
        self, broker: Broker
    ) -> None:
        await broker.enlist("mail", [SEND], LONG, begins=True)
        newer = Enlisted("app.send", ("accounts.User.post_save",))
        await broker.enlist("mail", [newer], LONG, begins=True)
        # The older program goes on beside the newer.
        roster = await broker.enlist("mail", [SEND], LONG, begins=False)
        assert roster.receivers["app.send"].signals == newer.signals

    async def test_a_receiver_that_no_program_had_for_long_is_forgotten(
        self, broker: Broker
    ) -> None:
        await broker.enlist("mail", [SEND, INDEX], LONG, begins=True)
        seen = (await broker.roster("mail")).receivers["app.send"].seen
        while (await broker.roster("mail")).now <= seen + 0.005:
            pass  # the broker's clock goes on
        roster = await broker.enlist("mail", [INDEX], 0.004, begins=False)
        assert roster.dropped == ["app.send"]
        assert roster.receivers["app.send"].forgotten
        again = await broker.enlist("mail", [INDEX], 0.004, begins=False)
        assert again.dropped == []
        assert again.version == roster.version
        # The program comes back.
        back = await broker.enlist("mail", [SEND], LONG, begins=True)
        assert back.added == ["app.send"]
        assert not back.receivers["app.send"].forgotten

    async def test_an_operator_forgets_a_receiver_once(self, broker: Broker) -> None:
        before = await broker.enlist("mail", [SEND], LONG, begins=True)
        assert not await broker.dismiss("mail", "app.unknown")
        assert await broker.dismiss("mail", "app.send")
        assert not await broker.dismiss("mail", "app.send")
        after = await broker.roster("mail")
        assert after.receivers["app.send"].forgotten
        assert after.version != before.version

    async def test_a_receiver_has_other_names(self, broker: Broker) -> None:
        await broker.enlist("mail", [SEND, INDEX], LONG, begins=True)
        assert await broker.names("mail") == {}
        assert await broker.rename("mail", "app.send", "app.post") is None
        assert await broker.rename("mail", "app.send", "app.deliver") is None
        assert await broker.rename("mail", "app.send", "app.post") is None, "safe to repeat"
        names = {"app.post": "app.send", "app.deliver": "app.send"}
        assert await broker.names("mail") == names
        assert await broker.rename("mail", "app.unknown", "app.other") == "unknown"
        assert await broker.rename("mail", "app.send", "app.index") == "taken"
        assert await broker.rename("mail", "app.index", "app.post") == "taken"
        assert await broker.names("mail") == names
        assert await broker.names("search") == {}
        assert await broker.rename("mail", "app.index", "app.search") is None
        # Its own name takes the others back.
        assert await broker.rename("mail", "app.send", "app.send") is None
        assert await broker.names("mail") == {"app.search": "app.index"}

    async def test_a_forgotten_receiver_gets_no_name_and_keeps_its_own_from_nobody(
        self, broker: Broker
    ) -> None:
        await broker.enlist("mail", [SEND, INDEX], LONG, begins=True)
        await broker.dismiss("mail", "app.send")
        assert await broker.rename("mail", "app.send", "app.post") == "unknown"
        assert await broker.rename("mail", "app.index", "app.send") is None

    async def test_the_other_name_of_a_forgotten_receiver_is_free(self, broker: Broker) -> None:
        await broker.enlist("mail", [SEND, INDEX], LONG, begins=True)
        await broker.rename("mail", "app.send", "app.post")
        await broker.dismiss("mail", "app.send")
        assert await broker.rename("mail", "app.index", "app.post") is None
        assert await broker.names("mail") == {"app.post": "app.index"}

    async def test_nothing_is_left_of_a_group_that_is_disbanded(self, broker: Broker) -> None:
        for group in ("mail", "search"):
            await broker.enlist(group, [SEND], LONG, begins=True)
            await broker.pause(group, None, "ana")
            await broker.pause(group, None, "ana", receiver="app.send")
            await broker.trip(group, "app.send", 3600, 1, "away")
            await broker.rename(group, "app.send", "app.post")
        await broker.disband("mail")
        assert await broker.names("mail") == {}
        assert len(await broker.names("search")) == 1
        roster, members = await broker.roster("mail"), await broker.members("mail")
        assert (roster.receivers, roster.version) == ({}, "")
        # A group that is called the same later begins its calls.
        assert (members.pause, members.paused, members.tripped) == (None, {}, {})
        search = await broker.members("search")
        assert (search.pause is None, len(search.paused), len(search.tripped)) == (False, 1, 1)
