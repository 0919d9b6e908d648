"""Who publishes and who subscribes, as a broker knows it."""

from edgy_bus.brokers.base import Enlisted
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.operations import Subscriber, catalogue, catalogue_of, receivers

SAVED, LOST = "accounts.User.post_save", "lost.Model.post_save"


async def test_models_are_listed_with_their_publisher_and_their_subscribers() -> None:
    broker = MemoryBroker()
    listed = [Enlisted("send", (SAVED, LOST)), Enlisted("gone", (SAVED,))]
    await broker.enlist("mail", listed, 60, begins=True)
    await broker.join("mail", "w1", 60, dumps({"protocol": 3, "receivers": ["send"]}))
    await broker.dismiss("mail", "gone")
    declared = {"accounts.User": 8, "accounts.Unheard": 4}
    view = catalogue_of(declared, await receivers(broker, "mail"))
    unheard, user, lost = view.models
    assert (unheard.name, unheard.subscribers) == ("accounts.Unheard", ())
    assert (user.name, user.service, user.partitions) == ("accounts.User", "accounts", 8)
    # A forgotten receiver waits for nothing.
    assert user.subscribers == (Subscriber("post_save", "mail", "send", 1),)
    assert (lost.name, lost.is_published) == ("lost.Model", False)
    assert view.unpublished == (lost,)


async def test_an_empty_broker_has_an_empty_catalogue() -> None:
    assert (await catalogue(MemoryBroker())).models == ()
