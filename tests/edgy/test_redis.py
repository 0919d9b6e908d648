"""From an operation of Edgy through Redis to a worker, with the relay of the service."""

from typing import Any

from edgy_bus.signals import post_delete, post_save, post_update
from tests.edgy.shop import open_shop
from tests.support import eventually


async def test_the_whole_way(database_url: str, redis_url: str, prefix: str) -> None:
    calls: list[Any] = []

    async def receiver(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        calls.append((event.signal, event.sequence, instance.name, kwargs["changes"]))

    async with open_shop(database_url, broker=redis_url, prefix=prefix, relay=True) as shop:
        Author = shop.models.Author
        for signal in (post_save, post_update, post_delete):
            signal(Author)(receiver)
        async with shop.bus.worker():
            author = await Author.query.create(name="Ann")
            async with shop.database.transaction():
                await author.update(name="Bea")
            transaction = shop.database.transaction()
            await transaction.start()
            await author.delete()
            await transaction.rollback()
            await Author.query.filter(name="Bea").delete()
            await eventually(lambda: len(calls) == 3)
    assert [call[0] for call in calls] == ["post_save", "post_update", "post_delete"]
    assert [call[1] for call in calls] == sorted(call[1] for call in calls)
    assert [call[2] for call in calls] == ["Ann", "Bea", "Bea"]
    assert calls[1][3] == {"name": {"old": "Ann", "new": "Bea"}}
