"""Groups without a worker: asked about when they stand still, and reported once."""

import pytest

from edgy_bus.brokers.base import EntryId
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.events import Partition
from edgy_bus.outbox.absences import AGAIN, STILL, Absences
from tests.support import Told

PARTITION = Partition("accounts.User", 0)
OTHER = Partition("accounts.User", 1)
END = EntryId(10, 0)


class Asked(MemoryBroker):
    """A broker that counts questions."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0

    async def is_held(self, partition: Partition, role: str) -> bool:
        self.questions += 1
        return await super().is_held(partition, role)


@pytest.fixture
def broker() -> Asked:
    return Asked()


def at(position: int) -> dict[str, EntryId]:
    return {"mail": EntryId(position, 0)}


async def test_a_group_without_a_worker_is_reported_once(broker: Asked) -> None:
    absences = Absences(broker)
    with Told() as told:
        for now in (0, STILL - 1):
            await absences.look(PARTITION, END, at(3), now)
            await absences.look(OTHER, END, at(3), now)
        assert not told.all
        for now in (STILL, STILL + 1, STILL + AGAIN):
            await absences.look(PARTITION, END, at(3), now)
            await absences.look(OTHER, END, at(3), now)
    assert told.all == [("group.absent", {"group": "mail", "partition": "accounts.User:0"})]


async def test_a_group_with_a_worker_is_asked_about_seldom(broker: Asked) -> None:
    absences = Absences(broker)
    await broker.acquire(PARTITION, "mail", "worker", 1_000)
    with Told() as told:
        for now in range(int(AGAIN + STILL)):
            await absences.look(PARTITION, END, at(3), now)
    assert not told.all
    assert broker.questions == 1


async def test_a_group_that_goes_on_or_has_nothing_to_do_is_not_asked_about(broker: Asked) -> None:
    absences = Absences(broker)
    with Told() as told:
        for now in range(100):
            await absences.look(PARTITION, EntryId(1_000, 0), at(now), now)
            await absences.look(OTHER, END, at(10), now)
    assert not told.all
    assert broker.questions == 0


async def test_a_group_that_comes_back_is_reported_when_all_its_streams_go_on(
    broker: Asked,
) -> None:
    absences = Absences(broker)
    for now in (0, STILL):
        await absences.look(PARTITION, END, at(3), now)
        await absences.look(OTHER, END, at(3), now)
    with Told() as told:
        await absences.look(PARTITION, END, at(4), STILL + 1)
        assert not told.all
        await absences.look(OTHER, END, at(10), STILL + 1)
        assert told.names() == ["group.present"]
        # And it may be missing again.
        await absences.look(PARTITION, END, at(4), 2 * STILL + 1)
        assert told.names() == ["group.present", "group.absent"]


async def test_a_group_that_is_paused_is_not_absent(broker: Asked) -> None:
    absences = Absences(broker)
    await broker.pause("mail", None, "ana")
    with Told() as told:
        for now in (0, STILL):
            await absences.look(PARTITION, END, at(3), now)
        assert not told.all
        await broker.resume("mail")
        await absences.look(PARTITION, END, at(3), STILL + AGAIN)
    assert told.names() == ["group.absent"]
