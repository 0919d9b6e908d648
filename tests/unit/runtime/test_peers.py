"""What a worker knows of the other workers of its group."""

from edgy_bus.brokers.base import Members
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.runtime.peers import Peers


class Counting(MemoryBroker):
    """A broker that counts how often reports are read."""

    reads = 0

    async def members(self, group: str) -> Members:
        self.reads += 1
        return await super().members(group)


async def test_reports_are_read_when_a_worker_comes_and_not_again() -> None:
    broker = Counting()
    peers = Peers(broker, "mail")
    for name, receivers in {"w1": ["a"], "w2": ["a", "b"]}.items():
        await broker.join("mail", name, 60, dumps({"protocol": 3, "receivers": receivers}))
    before = broker.reads
    for _ in range(3):
        await peers.update(["w1", "w2"])
    assert broker.reads == before + 1
    assert peers.having("a") == ["w1", "w2"]
    assert peers.having("b") == ["w2"]
    await peers.update(["w1"])
    assert peers.having("b") == []
    assert broker.reads == before + 1


async def test_receivers_are_set_aside_when_every_worker_knows_that() -> None:
    broker = MemoryBroker()
    peers = Peers(broker, "mail")
    await broker.join("mail", "new", 60, dumps({"protocol": 3, "receivers": []}))
    await peers.update(["new"])
    assert peers.know_receivers_aside
    for report in (dumps({"protocol": 2}), b"", b"[]", b"text", dumps({"protocol": "?"})):
        await broker.join("mail", "w", 60, report)
        await peers.update(["new", "w"])
        assert not peers.know_receivers_aside
        await peers.update(["new"])
        assert peers.know_receivers_aside
