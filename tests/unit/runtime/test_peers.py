"""What a worker knows of the other workers of its group."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.runtime.peers import Peers


class Counting(MemoryBroker):
    """A broker that remembers whose reports were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def reports(self, group: str, workers: Sequence[str]) -> Mapping[str, bytes]:
        self.read += workers
        return await super().reports(group, workers)


async def test_the_report_of_a_worker_is_read_when_the_worker_comes_and_not_again() -> None:
    broker = Counting()
    peers = Peers(broker, "mail")
    for name, receivers in {"w1": ["a"], "w2": ["a", "b"]}.items():
        await broker.join("mail", name, 60, dumps({"protocol": 3, "receivers": receivers}))
    await peers.update(["w1"])
    for _ in range(3):
        await peers.update(["w1", "w2"])
    # A hundred workers that come one after the other must not read a hundred reports each time.
    assert broker.read == ["w1", "w2"]
    assert peers.having("a") == ["w1", "w2"]
    assert peers.having("b") == ["w2"]
    await peers.update(["w1"])
    assert peers.having("b") == []
    assert broker.read == ["w1", "w2"]


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
