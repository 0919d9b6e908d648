"""Each call of a receiver has a context of its own, and leaves nothing open behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.runtime import inbox
from edgy_bus.runtime.executor import execute, execute_batch
from edgy_bus.runtime.outcome import Done, Failed
from tests.support import Told, event, eventually, publish
from tests.unit.runtime.support import Effects, Group, envelope, subscribe

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)


@pytest.fixture
async def database(effects: Effects) -> edgy.Database:
    return effects.registry.database


# Context variables


def careless(seen: list[str | None], *, waits: bool, fails: bool = False) -> Any:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        seen.append(tenant.get())
        tenant.set("left by a call")
        if waits:
            await asyncio.sleep(0)
            assert tenant.get() == "left by a call"
        if fails:
            raise LookupError

    return receiver


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("batch", [None, edgy.Batch()])
async def test_a_context_variable_that_a_receiver_sets_reaches_no_other_call(
    batch: edgy.Batch | None, waits: bool, fails: bool
) -> None:
    seen: list[str | None] = []
    chosen = subscribe(careless(seen, waits=waits, fails=fails), batch=batch)
    for _ in range(3):
        await execute(chosen, envelope(), 5)
    assert seen == [None] * 3
    assert tenant.get() is None


async def test_filters_and_readers_run_in_the_context_of_the_call() -> None:
    seen: list[str | None] = []

    def where(_: Any) -> bool:
        tenant.set("set by a filter")
        return True

    async def receiver(sender: Any, **kwargs: Any) -> None:
        seen.append(tenant.get())

    await execute(subscribe(receiver, where=where), envelope(), 5)
    assert seen == ["set by a filter"]
    assert tenant.get() is None


async def test_calls_of_a_tenure_do_not_share_context_variables() -> None:
    seen: list[str | None] = []

    async def receiver(sender: Any, event: edgy.Event, **kwargs: Any) -> None:
        seen.append(tenant.get())
        if event.sequence is not None and event.sequence % 3 == 0:
            tenant.set(f"the tenant of {event.sequence}")
        if event.sequence is not None and event.sequence % 2:
            await asyncio.sleep(0)

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 101)))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: len(seen) == 100)
    await group.end(tenure)
    assert set(seen) == {None}


async def test_a_muted_signal_is_muted_for_the_call_alone() -> None:
    signal, muted = edgy.Signal(), []

    async def receiver(sender: Any, **kwargs: Any) -> None:
        muted.append(signal.is_muted)
        signal.muted().__enter__()
        await asyncio.sleep(0)

    for _ in range(2):
        await execute(subscribe(receiver), envelope(), 5)
    assert muted == [False, False]


# Transactions and connections that stay open


async def leave_transaction(effects: Effects) -> None:
    await effects.registry.database.transaction().start()
    await effects.model.query.create(n=1)


async def leave_savepoint(effects: Effects) -> None:
    database = effects.registry.database
    await database.transaction().start()
    await database.transaction().start()
    await effects.model.query.create(n=1)


async def leave_transaction_that_is_entered_again(effects: Effects) -> None:
    connection = effects.registry.database.connection()
    await connection.__aenter__()
    await connection.transaction().start()
    await effects.model.query.create(n=1)


async def leave_connection(effects: Effects) -> None:
    await effects.registry.database.connection().__aenter__()


LEAVING = {
    leave_transaction: 1,
    leave_savepoint: 2,
    leave_transaction_that_is_entered_again: 1,
    leave_connection: 0,
}


@pytest.mark.parametrize("batch", [None, edgy.Batch()])
@pytest.mark.parametrize("ends", ["returns", "raises", "takes too long"])
@pytest.mark.parametrize("leave", LEAVING)
async def test_what_a_receiver_leaves_open_is_closed_and_reported(
    effects: Effects, leave: Any, ends: str, batch: edgy.Batch | None
) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        await leave(effects)
        if ends == "raises":
            raise LookupError("no stamps")
        if ends == "takes too long":
            await asyncio.Event().wait()

    chosen = subscribe(receiver, batch=batch, deadline=0.5 if ends == "takes too long" else 20)
    made = envelope()
    with Told() as told:
        (outcome,) = (
            await execute_batch(chosen, [made], 5) if batch else [await execute(chosen, made, 5)]
        )
    assert isinstance(outcome, Done if ends == "returns" else Failed)
    (report,) = told.of("receiver.left_open")
    assert report == {
        "group": "mail",
        "receiver": "r",
        "event": "accounts.User.post_save",
        "event_id": made.id,
        "transactions": LEAVING[leave],
    }
    database = effects.registry.database
    assert not database.in_transaction
    # SQLite has a single writer: a lock that stayed would be found here.
    await effects.model.query.create(n=2)
    assert await effects.all() == [2]


async def test_a_savepoint_left_open_inside_an_inbox_takes_the_transaction_back(
    effects: Effects, database: edgy.Database
) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        await effects.model.query.create(n=1)
        await database.transaction().start()

    chosen = subscribe(receiver, inbox=database)
    with Told() as told:
        assert isinstance(await execute(chosen, envelope(), 5), Failed)
    assert [report["transactions"] for report in told.of("receiver.left_open")] == [2]
    assert await effects.all() == []
    assert (await database.run(inbox.inbox.select())).rows == []


async def test_a_transaction_that_a_receiver_ended_is_not_reported(
    effects: Effects, database: edgy.Database
) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        async with database.transaction():
            await effects.model.query.create(n=1)
        async with database.connection():
            await effects.model.query.count()

    with Told() as told:
        assert await execute(subscribe(receiver), envelope(), 5) == Done()
    assert not told.of("receiver.left_open")
    assert await effects.all() == [1]


async def test_a_connection_of_the_caller_is_left_alone(
    effects: Effects, database: edgy.Database
) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)

    with Told() as told:
        async with database.transaction():
            await effects.model.query.create(n=1)
            await execute(subscribe(receiver), envelope(), 5)
            assert database.in_transaction
    assert not told.of("receiver.left_open")
    assert await effects.all() == [1]


async def test_a_cancelled_call_leaves_nothing_open(
    effects: Effects, database: edgy.Database
) -> None:
    began = asyncio.Event()

    async def receiver(sender: Any, **kwargs: Any) -> None:
        await leave_transaction(effects)
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(execute(subscribe(receiver), envelope(), 60))
    await began.wait()
    with Told() as told:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(told.of("receiver.left_open")) == 1
    await effects.model.query.create(n=2)
    assert await effects.all() == [2]


# Receivers of a worker


@asynccontextmanager
async def working(group: Group) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        tenure = await group.begin()
        stack.push_async_callback(group.end, tenure)
        yield


async def test_receivers_of_a_tenure_never_share_a_transaction(
    effects: Effects, database: edgy.Database
) -> None:
    """Some receivers end their transaction, others leave theirs open, raise, or open none."""
    begun_inside: list[int | None] = []
    calls: list[int | None] = []

    async def receiver(sender: Any, event: edgy.Event, **kwargs: Any) -> None:
        number = event.sequence or 0
        if database.in_transaction:
            begun_inside.append(number)
        if number % 2:
            await asyncio.sleep(0)
        if number % 4 == 1:
            transaction = await database.transaction().start()
            await effects.model.query.create(n=-number)
            await asyncio.sleep(0)
            if number % 3 == 0:
                calls.append(number)
                raise edgy.errors.EdgyBusError("before the end of the transaction")
            if number % 3 == 1:
                await transaction.rollback()
        else:
            await effects.model.query.create(n=number)
        calls.append(number)

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 41)))
    group = Group(broker, subscribe(receiver, retry=edgy.Retry(attempts=1)))
    async with working(group):
        await eventually(lambda: len(calls) == 40, "40 calls")
    assert begun_inside == []
    assert sorted(await effects.all()) == [n for n in range(1, 41) if n % 4 != 1]
