"""The list of relays: who runs where, who leads, and since when."""

import asyncio

from edgy_bus.brokers.base import Broker, ListedRelay, RelayCard
from edgy_bus.brokers.base.relays import RELAY, place_of

PLACE = place_of("accounts", "one")


def card_of(owner: str, host: str = "host-1") -> RelayCard:
    """Return the card of a relay."""
    return RelayCard(
        owner=owner,
        service="accounts",
        outbox="one",
        host=host,
        process=17,
        version="0.1.0",
    )


async def listed(broker: Broker) -> dict[str, ListedRelay]:
    """Return the relays that the broker lists, by owner."""
    return {each.card.owner: each for each in await broker.relays()}


class RelayTopic:
    """Relays are listed for a while, and the lease says which of them leads."""

    async def test_a_relay_is_listed_with_its_card_until_it_ends(self, broker: Broker) -> None:
        assert list(await broker.relays()) == []
        for owner in ("a", "b"):
            await broker.list_relay(card_of(owner, host=f"höst {owner}"), 30, 0.0)
        relays = await listed(broker)
        assert relays["a"].card == card_of("a", host="höst a")
        await broker.unlist_relay("a")
        # A relay that is stopped twice says so twice.
        await broker.unlist_relay("a")
        assert set(await listed(broker)) == {"b"}

    async def test_the_holder_of_the_lease_leads(self, broker: Broker) -> None:
        for owner in ("a", "b"):
            await broker.list_relay(card_of(owner), 30, 0.0)
        lease = await broker.acquire(PLACE, RELAY, "b", 30)
        assert lease is not None
        assert {name: each.leads for name, each in (await listed(broker)).items()} == {
            "a": False,
            "b": True,
        }
        # Killed: its line says nothing of the lease, which has run out.
        await broker.release(lease)
        assert not any(each.leads for each in await broker.relays())

    async def test_since_when_is_a_time_of_the_broker(self, broker: Broker) -> None:
        await broker.list_relay(card_of("a"), 30, 0.0)
        await broker.list_relay(card_of("a"), 30, 3600.0)
        (relay,) = await broker.relays()
        now = (await broker.facts()).now
        assert now - 3660 < relay.since < now - 3540

    async def test_a_relay_that_is_silent_is_listed_no_more(self, broker: Broker) -> None:
        await broker.list_relay(card_of("a"), 0.05, 0.0)
        await asyncio.sleep(0.1)
        assert list(await broker.relays()) == []
        await broker.list_relay(card_of("b"), 30, 0.0)
        assert set(await listed(broker)) == {"b"}
