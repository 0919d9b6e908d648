"""Receivers of groups: which programs have them, and forgetting."""

import pytest

from edgy_bus.brokers.base import Enlisted
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.errors import ConfigurationError, SignalError
from edgy_bus.operations import Parts, doctor, forget_receiver, receivers, rename_receiver
from tests.support import PARTITION

SIGNALS = ("accounts.User.post_save",)


@pytest.fixture
async def broker() -> MemoryBroker:
    """Return a broker with the receivers `send` of a live worker, and `index` of no program."""
    broker = MemoryBroker()
    listed = [Enlisted("send", SIGNALS), Enlisted("index", SIGNALS)]
    await broker.enlist("mail", listed, 60, begins=True)
    await broker.join("mail", "w1", 60, dumps({"protocol": 3, "receivers": ["send"]}))
    await broker.join("mail", "w2", 60, b"text of another program")
    return broker


async def test_each_receiver_is_listed_with_the_workers_that_have_it(broker: MemoryBroker) -> None:
    index, send = await receivers(broker, "mail")
    assert (index.name, index.workers, index.missing) == ("index", (), True)
    assert (send.name, send.workers, send.missing) == ("send", ("w1",), False)
    assert send.signals == SIGNALS


async def test_a_receiver_without_a_worker_is_forgotten(broker: MemoryBroker) -> None:
    with pytest.raises(ConfigurationError, match=r"1 live workers .* \(w1\)"):
        await forget_receiver(broker, "mail", "send")
    with pytest.raises(ConfigurationError, match="its receivers are: index, send"):
        await forget_receiver(broker, "mail", "indx")
    assert (await forget_receiver(broker, "mail", "index")).name == "index"
    index, _ = await receivers(broker, "mail")
    assert (index.forgotten, index.missing) == (True, False)
    with pytest.raises(ConfigurationError, match="no receiver 'index'"):
        await forget_receiver(broker, "mail", "index")


async def test_a_receiver_is_renamed_and_keeps_its_first_name(broker: MemoryBroker) -> None:
    renamed = await rename_receiver(broker, "mail", "send", "post", by="ana")
    assert (renamed.name, renamed.names) == ("send", ("post",))
    await rename_receiver(broker, "mail", "send", "deliver", by="ana")
    _, send = await receivers(broker, "mail")
    assert send.names == ("deliver", "post")
    assert (await rename_receiver(broker, "mail", "send", "send")).names == ()
    (_, first), *_ = await broker.actions(10)
    assert (first.action, first.receiver, first.choice) == ("receiver rename", "send", "post")
    assert first.result == "names: post"


@pytest.mark.parametrize(
    ("receiver", "name", "message"),
    [
        ("sned", "post", "its receivers are: index, send"),
        ("send", "index", "progress of its own.*receiver forget index"),
        ("letter", "post", "'letter' is another name of the receiver 'index'"),
        ("send", "letter", "progress of its own"),
        ("send", "a\nb", "name="),
        ("send", "", "name="),
    ],
)
async def test_a_name_that_does_not_fit_is_refused(
    broker: MemoryBroker, receiver: str, name: str, message: str
) -> None:
    await broker.rename("mail", "index", "letter")
    with pytest.raises((ConfigurationError, SignalError), match=message):
        await rename_receiver(broker, "mail", receiver, name)


async def test_a_receiver_that_has_begun_during_a_rename_is_a_receiver(
    broker: MemoryBroker,
) -> None:
    await broker.rename("mail", "index", "letter")
    await broker.enlist("mail", [Enlisted("letter", SIGNALS)], 60, begins=True)
    assert (await forget_receiver(broker, "mail", "letter")).name == "letter"


async def test_a_forgotten_receiver_has_no_other_names(broker: MemoryBroker) -> None:
    await rename_receiver(broker, "mail", "index", "letter")
    await forget_receiver(broker, "mail", "index")
    assert await broker.names("mail") == {}


async def test_the_doctor_names_receivers_that_no_program_has(broker: MemoryBroker) -> None:
    await broker.declare("accounts.User", 1)
    lease = await broker.acquire(PARTITION, "mail", "w1", 60)
    assert lease is not None
    await broker.fetch(lease, 1, inherit=False)
    findings = (await doctor(Parts(broker, "accounts"), seconds=0)).findings
    assert [each.about for each in findings if each.code == "receiver.missing"] == [
        "receiver index of group mail"
    ]
    await forget_receiver(broker, "mail", "index")
    findings = (await doctor(Parts(broker, "accounts"), seconds=0)).findings
    assert "receiver.missing" not in {each.code for each in findings}
