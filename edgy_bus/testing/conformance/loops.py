"""Event loops, for brokers that declare `serves_many_loops`: a thread may renew leases."""

import asyncio

from edgy_bus.brokers.base import Broker
from edgy_bus.testing.conformance.steps import PARTITION, acquire, append, fetch_ids

_AT_ONCE = 50
"""Calls side by side: more than a broker has connections, so that calls wait for each other."""


async def join_often(broker: Broker, worker: str) -> None:
    """Call the broker many times at once."""
    joining = (broker.join("mail", worker, 30, b"") for _ in range(_AT_ONCE))
    for members in await asyncio.gather(*joining):
        assert worker in members.alive


class LoopTopic:
    """The event loop of another thread uses the broker while this one does."""

    async def test_a_lease_is_renewed_in_another_thread(self, broker: Broker) -> None:
        head = await append(broker, "a")
        # Long enough for the thread to begin.
        lease = await acquire(broker, "w1", ttl=1.0)
        bell = broker.bell()
        ringing = asyncio.create_task(bell.wait({PARTITION: head.entry}, 60))

        async def keep() -> list[bool | BaseException]:
            answers: list[bool | BaseException] = []
            for _ in range(20):
                answers += await broker.renew_all([lease], 30)
                await join_often(broker, "w1")
            # Ends the connections of this loop, and of no other.
            await broker.close()
            return answers

        # As the keeper of leases does, which has an event loop of its own.
        renewing = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(keep())))
        # Until the other loop has ended, so that both loops wait for turns and answers.
        while not renewing.done():
            await join_often(broker, "w2")
        assert await renewing == [True] * 20
        assert set((await broker.members("mail")).alive) == {"w1", "w2"}
        assert not ringing.done(), "the connection of the bell belongs to this loop"
        await append(broker, "b")
        assert set(await ringing) == {PARTITION}
        await bell.close()
        await asyncio.sleep(1.1)  # longer than the lease was before it was renewed
        assert await fetch_ids(broker, lease) == ["a", "b"]
