"""What happens in `accounts` during a run: users come, change and go. Keeps a ledger of what was committed."""

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
    """What the database said yes to."""

    versions: dict[int, int] = field(default_factory=dict)
    """The last version of every user ever created; the deletion is a version too."""
    vetoed: int = 0
    rolled_back: int = 0

    @property
    def committed(self) -> int:
        """Operations."""
        return sum(self.versions.values())


class _Undone(Exception):
    """Rolls a transaction back on purpose."""


class Driver:
    """Creates, updates and deletes `count` users; `progressed` is called after every operation."""

    def __init__(self, database: Database, count: int, progressed: Callable[[], None]) -> None:
        self.ledger = Ledger()
        self.operations = 2 * count + count // _DELETE_EVERY
        self._database = database
        self._count = count
        self._progressed = progressed
        self._users: list[User] = []

    async def run(self) -> None:
        await self._all(range(self._count), self._create)
        order = random.sample(range(self._count), self._count)
        await self._all(order, self._update)
        await self._all(order[: self._count // _DELETE_EVERY], self._delete)

    async def _all(self, numbers: Iterable[int], action: Callable[[int], Awaitable[None]]) -> None:
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                await action(number)
                self._progressed()

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
        self.ledger.versions[user.id] = 1

    async def _create_spam(self, number: int) -> None:
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
        """Events of a transaction that rolls back must never be seen."""
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
