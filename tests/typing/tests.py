"""Check the types that editors infer in a user's tests. mypy reads this file; no test runs it."""

from typing import assert_type

from edgy_bus import Event
from edgy_bus.signals import post_save
from edgy_bus.testing import Call, Dead, InlineBus, RedisOfTest, Waiting, inline, make
from tests.typing.users import User, bus, welcome


async def test_a_receiver(bus: InlineBus, edgy_bus_redis: RedisOfTest) -> None:
    await bus.drain(check=False)
    await bus.drain(chek=False)  # type: ignore[call-arg]
    assert_type(bus.published(post_save, User), list[Event])
    assert_type(bus.handled(welcome), list[Event])
    assert_type(bus.calls(welcome), list[Call])
    assert_type(bus.waiting, list[Waiting])
    assert_type(bus.dead, list[Dead])
    assert_type(make(User, email="ada@example.com"), User)
    assert_type(bus.event(post_save, User, changes={"email": ("a", "b")}), Event)
    bus.event(post_save, 7)  # type: ignore[arg-type]
    assert_type(edgy_bus_redis.prefix, str)


async def main() -> None:
    async with inline(bus, mode="twice") as opened:
        assert_type(opened, InlineBus)
