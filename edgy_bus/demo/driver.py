"""Drive the service `accounts`: create, change and delete users, and record the commits."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from edgy_bus.database import Database
from edgy_bus.demo.accounts import User, Vetoed

_AT_ONCE = 4
_SPAM_EVERY, _UNDO_EVERY, _DELETE_EVERY = 25, 20, 5


@dataclass
class Ledger:
    """Record the operations that the database has committed.

    Attributes:
        versions: the last version of every user ever created; a deletion is a version too.
        vetoed: operations that a `pre_save` receiver refused.
        rolled_back: transactions that were rolled back on purpose.
    """

    versions: dict[int, int] = field(default_factory=dict)
    vetoed: int = 0
    rolled_back: int = 0

    @property
    def committed(self) -> int:
        """Return the number of committed operations."""
        return sum(self.versions.values())


class _Undone(Exception):
    """Rolls a transaction back on purpose."""


class Driver:
    """Create, update and delete users.

    Args:
        database: the database of `accounts`.
        count: how many users.
        on_progress: called after every operation.
    """

    def __init__(self, database: Database, count: int, on_progress: Callable[[], None]) -> None:
        self.ledger = Ledger()
        self.operations = 2 * count + count // _DELETE_EVERY
        self._database = database
        self._count = count
        self._on_progress = on_progress
        self._users: list[User] = []

    async def run(self) -> None:
        """Run all operations. The ledger is complete afterwards."""
        await self._for_each(range(self._count), self._create)
        # A random order, because updates in the order of creation would hide a loss of order.
        order = random.sample(range(self._count), self._count)
        await self._for_each(order, self._update)
        await self._for_each(order[: self._count // _DELETE_EVERY], self._delete)

    async def _for_each(
        self, numbers: Iterable[int], action: Callable[[int], Awaitable[None]]
    ) -> None:
        # The workers share an iterator: each takes the next number, and no number is taken twice.
        remaining = iter(numbers)

        async def work() -> None:
            for number in remaining:
                await action(number)
                self._on_progress()

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())

    async def _create(self, number: int) -> None:
        if number % _SPAM_EVERY == 0:
            await self._create_spam(number)
        user = await User.query.create(
            name=f"User {number}", email=f"User{number}@Example.org", password="hunter2"
        )
        self._users.append(user)
        # After the commit: an operation that raised must not count as committed.
        self.ledger.versions[user.id] = 1

    async def _create_spam(self, number: int) -> None:
        """Try to create a user that `pre_save` refuses; no group may see an event of this user."""
        try:
            await User.query.create(name=f"Spam {number}", email=f"{number}@spam.example")
        except Vetoed:
            self.ledger.vetoed += 1

    async def _update(self, number: int) -> None:
        user = self._users[number]
        if number % _UNDO_EVERY == 0:
            await self._update_and_undo(user)
        async with self._database.transaction():
            await user.update(name=f"{user.name} the second", version=user.version + 1)
        self.ledger.versions[user.id] += 1

    async def _update_and_undo(self, user: User) -> None:
        """Write events in a transaction that rolls back; no group may see them."""
        # Version 1,000,000 is no expected effect: such an event would count as a phantom.
        try:
            async with self._database.transaction():
                await User.query.filter(id=user.id).update(name="Nobody", version=1_000_000)
                raise _Undone
        except _Undone:
            self.ledger.rolled_back += 1

    async def _delete(self, number: int) -> None:
        user = self._users[number]
        await user.delete()
        self.ledger.versions[user.id] += 1
