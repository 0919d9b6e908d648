"""Repeat a transaction that lost against another transaction."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

from edgy_bus.database.connection import Transaction
from edgy_bus.errors import TryAgain

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0
"""Seconds before another attempt; drawn at random up to twice as long after each attempt."""


class Attempt:
    """Run a block in a transaction; `async with attempt:` in a loop over `Database.attempts`.

    Attributes:
        number: 1 for the first attempt.
    """

    def __init__(self, transaction: Transaction, number: int, *, is_last: bool) -> None:
        self.number = number
        self._transaction = transaction
        self._is_last = is_last
        self.has_lost = False
        """Whether another transaction has defeated this one."""

    async def __aenter__(self) -> Self:
        await self._transaction.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        try:
            await self._transaction.__aexit__(kind, error, trace)
        except TryAgain:
            # A serialization failure can appear as late as at the commit. After the commit the
            # error is a callback's, and another attempt would repeat what has taken effect.
            self.has_lost = not self._transaction.is_committed
            if self._is_last or not self.has_lost:
                raise
            return True
        self.has_lost = isinstance(error, TryAgain)
        # True keeps the error from the caller: another attempt follows.
        return self.has_lost and not self._is_last


async def attempts(begin: Callable[[], Transaction], limit: int) -> AsyncIterator[Attempt]:
    """Yield attempts until one of them is committed, with pauses that grow.

    Args:
        begin: returns a new transaction.
        limit: the number of attempts; the error of the last attempt reaches the caller.
    """
    for number in range(1, limit + 1):
        attempt = Attempt(begin(), number, is_last=number == limit)
        yield attempt
        if not attempt.has_lost:
            return
        # At random, or the transactions that met here would meet again.
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**number)
        await asyncio.sleep(random.uniform(0, longest))
