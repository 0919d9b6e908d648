"""The program of a new user: one model on a SQLite database in memory of the test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import edgy_bus as edgy


@pytest.fixture
def database_file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'shop.sqlite'}"


@pytest.fixture
def shop(database_file: str) -> edgy.Registry:
    """A registry whose database is not connected."""
    return edgy.Registry(database_file)


@pytest.fixture
def User(shop: edgy.Registry) -> Any:  # a class, and named like one
    """A model whose database is not connected."""
    return make_user(shop)


@pytest.fixture
async def users(User: Any) -> AsyncIterator[Any]:
    """The same model with a connected database and a table."""
    async with User.meta.registry as registry:
        await registry.create_all()
        yield User


def make_user(shop: edgy.Registry) -> Any:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        email: str = edgy.EmailField()
        age: int | None = edgy.IntegerField(null=True)

        class Meta:
            registry = shop

    return User
