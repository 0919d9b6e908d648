"""Provide a model in a SQLite file and receivers that record their calls, for tests of models."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, NamedTuple

from edgy_bus import models as edgy
from edgy_bus.signals import BUILT_IN_KEYWORDS, Options

ABSENT = {name: None for name in BUILT_IN_KEYWORDS if name != "instance"}
"""The keywords of a built-in signal that has nothing to say."""

_numbers = count(1)


class Call(NamedTuple):
    """One call of a receiver."""

    signal: str
    sender: Any
    instance: Any
    kwargs: dict[str, Any]


def listen(model: Any, *signals: str, **options: Any) -> list[Call]:
    """Connect a receiver to each of these signals; the list fills with their calls."""
    calls: list[Call] = []

    def connect(name: str) -> None:
        async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
            calls.append(Call(name, sender, instance, kwargs))

        # A signal refuses two receivers of one durable name.
        receiver.__qualname__ = f"listen.{name}.{next(_numbers)}"
        model.meta.signals[name].connect(receiver, Options(**options))

    for name in signals:
        connect(name)
    return calls


def declare_user(shop: edgy.Registry | None = None) -> Any:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=20)
        email: str = edgy.EmailField(unique=True)
        age: int | None = edgy.IntegerField(null=True)
        is_verified: bool = edgy.BooleanField(default=False)
        settings: dict[str, Any] = edgy.JSONField(default=dict)
        password: str = edgy.CharField(max_length=10, secret=True, default="")

        class Meta:
            registry = shop

    return User


@asynccontextmanager
async def tables(url: str, *declare: Callable[[edgy.Registry], Any]) -> AsyncIterator[Any]:
    """Declare models with the functions, connect to the database and create the tables."""
    async with edgy.Registry(url) as registry:
        models = [function(registry) for function in declare]
        await registry.create_all()
        yield models[0] if len(models) == 1 else models
