"""Histories of groups: the tallies of all workers by the minute, and changes of the version."""

from edgy_bus.brokers.base import VERSIONS, Broker, Tally


class TallyingTopic:
    """A history has the work of a day, and says when another version began."""

    async def test_tallies_of_workers_are_added(self, broker: Broker) -> None:
        assert not (await broker.history("mail")).minutes
        for _ in range(2):
            await broker.tally("mail", Tally(handled=3, retried=2, dead=1))
        # More than 32 bits: a script has to write the number without an exponent.
        await broker.tally("mail", Tally(handled=2**40))
        await broker.tally("search", Tally(dead=7))
        history = await broker.history("mail")
        # Two minutes, where the test crosses the end of a minute.
        total = Tally()
        for minute, tally in history.minutes.items():
            assert history.now // 60 - 1 <= minute <= history.now // 60
            total = total.plus(tally)
        assert total == Tally(2**40 + 6, 4, 2)
        assert [*(await broker.history("search")).minutes.values()] == [Tally(dead=7)]

    async def test_changes_of_the_version_are_kept(self, broker: Broker) -> None:
        before = (await broker.history("mail")).now
        # Two workers of a version begin, and a rollback is a change as well.
        for version in ("1.0", "1.0", "2.0 (é)", "", "1.0"):
            await broker.tally("mail", Tally(), version)
        history = await broker.history("mail")
        assert [version for _, version in history.versions] == ["1.0", "2.0 (é)", "1.0"]
        times = [began for began, _ in history.versions]
        assert times == sorted(times)
        # Times are whole milliseconds on Redis.
        assert before - 0.01 <= times[0] <= history.now

    async def test_a_bounded_number_of_changes_is_kept(self, broker: Broker) -> None:
        for number in range(VERSIONS + 5):
            await broker.tally("mail", Tally(), f"v{number}")
        versions = [version for _, version in (await broker.history("mail")).versions]
        assert versions == [f"v{number}" for number in range(5, VERSIONS + 5)]
