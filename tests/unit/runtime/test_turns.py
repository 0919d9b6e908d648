"""Receivers with an inbox wait for their turn to write, and waiting is no failed attempt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseUnavailable, TryAgain
from edgy_bus.runtime import inbox
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.outcome import Again, Done, Failed, Note, Untouched, decide
from edgy_bus.runtime.turns import Turn, _queues
from tests.support import Told, eventually
from tests.unit.runtime.support import QUICK, envelope, subscribe


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    """A database that refuses a lock soon."""
    async with Database(f"{sqlite_url}?timeout=0.02") as database:
        await database.create_tables(inbox.metadata)
        yield database


async def test_a_locked_database_is_waited_for_and_reported_once(
    database: Database, sqlite_url: str
) -> None:
    called: list[str] = []

    async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
        called.append(instance.id)

    async with Database(sqlite_url) as other:
        with Told() as told:
            async with other.transaction():
                waiting = [
                    asyncio.create_task(
                        execute(subscribe(receiver, inbox=database), envelope(subject=key), 30)
                    )
                    for key in "12"
                ]
                await eventually(lambda: told.of("inbox.waits"))
                await asyncio.sleep(0.2)  # several lock timeouts
                assert not called
            assert await asyncio.gather(*waiting) == [Done(), Done()]
    assert called == ["1", "2"]
    [notice] = told.of("inbox.waits")
    assert notice["receiver"] == "mail/r"


async def test_receivers_of_a_file_take_turns_in_order(database: Database) -> None:
    """Each waits for longer than the lock timeout; nobody loses the place in the queue."""
    running, order = 0, []

    async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.03)
        running -= 1
        order.append(instance.id)

    keys = [str(number) for number in range(10)]
    with Told() as told:
        calls = (
            execute(subscribe(receiver, inbox=database), envelope(subject=key), 30) for key in keys
        )
        assert await asyncio.gather(*calls) == [Done()] * 10
    assert order == keys
    assert not told.of("inbox.waits")


@pytest.mark.parametrize("batch", [None, edgy.Batch(wait=0)])
async def test_the_deadline_counts_the_call_and_not_the_wait(
    database: Database, batch: edgy.Batch | None
) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(60)

    async def quick(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0.001)

    slow, soon = (subscribe(each, inbox=database, batch=batch) for each in (receiver, quick))
    async with Turn(database, "another"):
        call = asyncio.create_task(execute(soon, envelope(), 0.05))
        await asyncio.sleep(0.2)
        assert not call.done()
    assert await call == Done()
    # The receiver that was called has used its time itself.
    assert isinstance(await execute(slow, envelope(sequence=2), 0.05), Failed)
    assert isinstance(await execute(slow, envelope(sequence=2), 0.05), Failed), "the turn is free"


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), TryAgain("lost")])
@pytest.mark.parametrize("step", ["transaction", "advance"])
async def test_a_database_that_is_away_before_the_call_counts_no_attempt(
    database: Database, error: Exception, step: str
) -> None:
    if step == "transaction" and isinstance(error, TryAgain):
        pytest.skip("waited for in place")

    class Away:
        dialect = database.dialect

        def transaction(self) -> Any:
            return self

        async def __aenter__(self) -> None:
            if step == "transaction":
                raise error

        async def __aexit__(self, *_: object) -> None: ...

        async def run(self, *_: object) -> Any:
            raise error

    async def receiver(sender: Any, **kwargs: Any) -> None:
        raise AssertionError

    with Told() as told:
        outcome = await execute(subscribe(receiver, inbox=Away()), envelope(), 5)
    assert isinstance(outcome, Untouched)
    decision = decide(outcome, Note(2), QUICK, 100.0)
    assert isinstance(decision, Again)
    assert decision.note == Note(2, 102.0, wait=2.0)
    assert "its inbox waits" in decision.reason
    assert told.of("inbox.waits")


async def test_a_begin_that_does_not_come_to_its_end_gives_the_turn_back(
    database: Database, sqlite_url: str
) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None: ...

    chosen = subscribe(receiver, inbox=database)
    async with Database(sqlite_url) as other:
        async with other.transaction():
            # The call has its turn, and tries to begin while another process writes.
            with Told() as told:
                waiting = asyncio.create_task(execute(chosen, envelope(), 30))
                await eventually(lambda: told.of("inbox.waits"))
                waiting.cancel()
                await asyncio.wait([waiting])
            assert waiting.cancelled()
        assert await execute(chosen, envelope(), 10) == Done()


async def test_a_begin_that_fails_gives_the_turn_back(database: Database) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None: ...

    chosen = subscribe(receiver, inbox=database)
    await database.disconnect()
    assert isinstance(await execute(chosen, envelope(), 10), Failed)
    await database.connect()
    assert await execute(chosen, envelope(), 10) == Done()


def number_in_line(database: Database) -> int:
    turns = _queues.get()[id(database)].turns
    return 0 if turns is None else len(turns._waiters or ())


async def test_a_cancelled_wait_gives_the_turn_to_the_next(database: Database) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None: ...

    async with Turn(database, "another"):
        first, second = (
            asyncio.create_task(
                execute(subscribe(receiver, inbox=database), envelope(subject=key), 30)
            )
            for key in "12"
        )
        await eventually(lambda: number_in_line(database) == 2)
        first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == Done()


async def test_a_cancelled_wait_says_nothing_about_the_next_call(database: Database) -> None:
    class Cancelling:
        """An inbox whose pool cancels a wait that nobody asked to cancel."""

        dialect = database.dialect
        run = database.run

        def transaction(self) -> Any:
            return self

        async def __aenter__(self) -> None:
            raise asyncio.CancelledError

        async def __aexit__(self, *_: object) -> None: ...

    async def hang(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(60)

    async def one_after_another() -> list[Any]:
        cancelled = subscribe(hang, inbox=Cancelling())
        return [await execute(each, envelope(), 0.05) for each in (cancelled, subscribe(hang))]

    outcomes = await asyncio.create_task(one_after_another())
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed]


class Pooled(Database):
    """A database whose transactions only say how many of them are open."""

    def __init__(self, size: int) -> None:
        super().__init__(f"postgresql://nobody@127.0.0.1:1/none?max_size={size}")
        self.open = self.most = 0

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[Any]:
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.01)
        yield None
        self.open -= 1


@pytest.mark.parametrize(("size", "most"), [(1, 1), (2, 1), (4, 3), (10, 8), (20, 15)])
async def test_receivers_leave_connections_to_relays_and_others(size: int, most: int) -> None:
    database = Pooled(size)

    async def receiver() -> None:
        async with Turn(database, "mail/slow"):
            await asyncio.sleep(0.01)

    await asyncio.gather(*(receiver() for _ in range(40)))
    assert database.most == most
