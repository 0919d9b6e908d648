"""The relays that run, the leader of each outbox first."""

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.operations import Parts, relays, status
from edgy_bus.outbox.leading import Leader
from tests.unit.outbox.test_leading import Outbox


async def test_relays_are_shown_by_outbox_and_the_leader_first() -> None:
    broker = MemoryBroker()
    for service, outbox in (("shop", "one"), ("accounts", "two"), ("shop", "one")):
        await Leader(broker, Outbox(outbox, service), 30.0).step()
    views = await relays(broker)
    assert [(each.service, each.outbox, each.leads) for each in views] == [
        ("accounts", "two", True),
        ("shop", "one", True),
        ("shop", "one", False),
    ]
    assert views[0].place.endswith(f":{views[0].process}")
    assert (await status(Parts(broker, "shop"))).relays == views
