"""Programs of different releases agree on a protocol, or the older program says what to do."""

import pytest

from edgy_bus.brokers.base import Protocol
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.protocol import PROTOCOL, Agreement
from edgy_bus.errors import ConfigurationError
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import Told
from tests.unit.runtime.support import subscribe


async def test_a_program_makes_its_protocol_known() -> None:
    broker = MemoryBroker()
    await Agreement(broker).renew()
    assert await broker.keep_protocol(Protocol(0, 0)) == PROTOCOL


async def test_a_newer_protocol_that_older_programs_can_use_is_reported_once() -> None:
    broker = MemoryBroker()
    agreement = Agreement(broker)
    with Told() as told:
        await agreement.renew()
        await broker.keep_protocol(Protocol(PROTOCOL.version + 2, PROTOCOL.version))
        for _ in range(3):
            await agreement.renew()
    assert told.all == [
        (
            "broker.newer_protocol",
            {"version": PROTOCOL.version + 2, "spoken": PROTOCOL.version},
        )
    ]


async def test_a_program_that_is_too_old_says_what_to_stop_and_start() -> None:
    broker = MemoryBroker()
    newer = PROTOCOL.version + 1
    await broker.keep_protocol(Protocol(newer + 1, newer))
    with pytest.raises(
        ConfigurationError, match=f"protocol {newer} or newer .* speaks {PROTOCOL.version}: stop it"
    ):
        await Agreement(broker).renew()


async def test_a_worker_that_is_too_old_does_not_start() -> None:
    async def receiver(sender: str, event: object, **kwargs: object) -> None:
        raise AssertionError("never called")

    broker = MemoryBroker()
    newer = PROTOCOL.version + 1
    await broker.keep_protocol(Protocol(newer, newer))
    worker = Worker(broker, [Subscriptions("mail", [subscribe(receiver)])], WorkerSettings())
    with pytest.raises(ConfigurationError, match="start a release of edgy-bus that is as new"):
        await worker.run()
