"""From a session of SQLAlchemy through Redis to a worker that has the class."""

from typing import Any

from edgy_bus.signals import post_delete, post_save, post_update
from tests.integration.alchemy import User, open_shop
from tests.support import eventually


async def test_the_whole_way(database_url: str, redis_url: str, prefix: str) -> None:
    calls: list[Any] = []

    async def receiver(sender: Any, instance: User, event: Any, **kwargs: Any) -> None:
        calls.append((event.signal, event.sequence, instance.name, kwargs["changes"]))

    async with open_shop(database_url, broker=redis_url, prefix=prefix, relay=True) as shop:
        signals = (post_save, post_update, post_delete)
        for signal in signals:
            signal(User)(receiver)
        try:
            async with shop.bus.worker():
                async with shop.sessions() as session:
                    user = User(id=1, name="Ann", version=1)
                    session.add(user)
                    await session.commit()
                    user.name = "Bea"
                    await session.commit()
                    await session.refresh(user, ["books", "notes"])
                    await session.delete(user)
                    await session.rollback()
                    user = await session.get_one(User, 1)
                    await session.refresh(user, ["books", "notes"])
                    await session.delete(user)
                    await session.commit()
                await eventually(lambda: len(calls) == 3)
        finally:
            for signal in signals:
                model = shop.source.model(User)
                model.signals[signal.name].disconnect(receiver)
    assert [call[0] for call in calls] == ["post_save", "post_update", "post_delete"]
    assert [call[1] for call in calls] == sorted(call[1] for call in calls)
    assert [call[2] for call in calls] == ["Ann", "Bea", "Bea"]
    assert calls[1][3]["name"] == {"old": "Ann", "new": "Bea"}
