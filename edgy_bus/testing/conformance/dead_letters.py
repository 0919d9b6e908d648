"""Dead letters: kept once, with the raw entry."""

from edgy_bus.brokers.base import Broker
from edgy_bus.testing.conformance.steps import PARTITION, acquire, append, fetch_new, letter_of


class DeadLetterTopic:
    """A dead letter is kept with everything that the entry had, and only once."""

    async def test_dead_letters_keep_the_raw_entry(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease)
        letter = letter_of(entry)
        await broker.bury(lease, letter, b"buried")
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        assert [group.dead for group in await broker.backlog(PARTITION)] == [1]

    async def test_a_repeated_burial_keeps_one_letter(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease)
        letter, second = letter_of(entry), letter_of(entry, "app.other")
        # The answer to the first call was lost.
        for _ in range(2):
            await broker.bury(lease, letter, b"buried")
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        # Another receiver gives the same event up.
        await broker.bury(lease, second, b"both buried")
        assert await broker.dead_letters(PARTITION, "mail") == [letter, second]
