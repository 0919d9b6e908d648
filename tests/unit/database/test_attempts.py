"""Attempts: a transaction is repeated after `TryAgain`, and after nothing else."""

from typing import Any

import pytest

from edgy_bus.database import attempts as module
from edgy_bus.database.attempts import attempts
from edgy_bus.errors import DatabaseError, TryAgain


class Transaction:
    """Stands for a transaction; `at_commit` is raised by the commit, `after` by a callback."""

    def __init__(self, at_commit: Exception | None = None, after: Exception | None = None) -> None:
        self.at_commit = at_commit
        self.after = after
        self.is_committed = False
        self.ended: list[type[BaseException] | None] = []

    async def __aenter__(self) -> "Transaction":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.ended.append(kind)
        if kind is not None:
            return
        if self.at_commit is not None:
            raise self.at_commit
        self.is_committed = True
        if self.after is not None:
            raise self.after


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0)


def of(transactions: list[Transaction], limit: int) -> Any:
    left: Any = iter(transactions)
    return attempts(lambda: next(left), limit)


async def test_a_block_that_succeeds_runs_once() -> None:
    ran = 0
    async for attempt in of([Transaction()], 5):
        async with attempt:
            ran += 1
    assert ran == 1


async def test_a_block_that_loses_runs_again_in_another_transaction() -> None:
    transactions = [Transaction() for _ in range(3)]
    numbers = []
    async for attempt in of(transactions, 5):
        async with attempt:
            numbers.append(attempt.number)
            if attempt.number < 3:
                raise TryAgain("lost")
    assert numbers == [1, 2, 3]
    assert [transaction.ended for transaction in transactions] == [[TryAgain], [TryAgain], [None]]


async def test_a_commit_that_loses_is_repeated() -> None:
    numbers = []
    async for attempt in of([Transaction(TryAgain("lost")), Transaction()], 5):
        async with attempt:
            numbers.append(attempt.number)
    assert numbers == [1, 2]


async def test_a_block_that_is_committed_is_not_repeated() -> None:
    ran = 0
    with pytest.raises(TryAgain, match="a callback"):
        async for attempt in of([Transaction(after=TryAgain("a callback")), Transaction()], 5):
            async with attempt:
                ran += 1
    assert ran == 1


@pytest.mark.parametrize("at_commit", [True, False])
async def test_the_error_of_the_last_attempt_is_raised(at_commit: bool) -> None:
    ran = 0
    error = TryAgain("lost")
    with pytest.raises(TryAgain):
        async for attempt in of([Transaction(error if at_commit else None) for _ in range(3)], 3):
            async with attempt:
                ran += 1
                if not at_commit:
                    raise error
    assert ran == 3


async def test_any_other_error_is_raised_at_once() -> None:
    ran = 0
    with pytest.raises(DatabaseError):
        async for attempt in of([Transaction() for _ in range(3)], 3):
            async with attempt:
                ran += 1
                raise DatabaseError("no")
    assert ran == 1


async def test_an_attempt_that_nobody_enters_is_not_repeated() -> None:
    assert len([attempt async for attempt in of([Transaction() for _ in range(3)], 3)]) == 1
