"""Receivers that block their worker's event loop, on a real Redis, beside another worker."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.brokers.redis.scripts import _script
from edgy_bus.events import Partition, partitions_of
from edgy_bus.retrying import Retry
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.proxy import Proxy
from tests.support import PARTITION, Told, block, event, eventually, publish
from tests.unit.runtime.support import subscribe

LEASE = 1.0
SETTINGS = WorkerSettings(lease=LEASE, block=0.2, backoff=0.2, grace=5.0)

ONCE = Retry(attempts=1)


def worker_on(broker: RedisBroker, function: Any) -> Worker:
    subscription = subscribe(function, name="convert_pdf", retry=ONCE)
    return Worker(broker, [Subscriptions("mail", [subscription])], SETTINGS)


@contextmanager
def in_a_thread(broker: RedisBroker, function: Any, new_loop: Any) -> Iterator[None]:
    """Run a worker in an event loop of another thread, as another process would."""
    started, stop = threading.Event(), threading.Event()

    async def main() -> None:
        async with worker_on(broker, function) as worker:
            await eventually(lambda: worker.consumers and worker.consumers[0].partitions)
            started.set()
            await eventually(stop.is_set)
        await broker.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(20), "it has partitions"
        yield
    finally:
        stop.set()
        thread.join(20)


async def _streams(broker: RedisBroker, rows: int) -> list[Partition]:
    await broker.declare(PARTITION.model, rows)
    return list(partitions_of(PARTITION.model, rows))


@pytest.mark.timeout(90)
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
async def test_a_call_that_blocks_for_three_leases_runs_once_beside_an_idle_worker(
    redis_url: str, prefix: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    begun: list[str] = []

    async def blocking(sender: Any, event: Any, **kwargs: Any) -> None:
        begun.append(event.subject)
        await asyncio.sleep(0.05)
        if event.subject in {"0", "1"}:
            block(3 * LEASE)

    broker = RedisBroker(redis_url, prefix)
    partitions = await _streams(broker, 4)
    blocked = RedisBroker(redis_url, prefix)
    with Told() as told, in_a_thread(blocked, blocking, new_loop):
        async with worker_on(broker, blocking) as idle:
            await eventually(lambda: idle.consumers and len(idle.consumers[0].partitions) == 2)
            for number, partition in enumerate(partitions):
                await publish(broker, *(event(str(number), n) for n in (1, 2)), partition=partition)
            await eventually(lambda: len(begun) == 8)
            await asyncio.sleep(LEASE)
    assert sorted(begun) == sorted("00112233")
    assert told.of("tenure.lost") == []
    names = {fields["receiver"] for fields in told.of("loop.blocked")}
    assert names == {"convert_pdf"}
    await broker.close()


@pytest.mark.timeout(60)
async def test_a_call_that_was_never_made_is_no_attempt(redis_url: str, prefix: str) -> None:
    """An inherited entry: its attempt is counted before the call, while another call blocks."""
    begun: list[str] = []

    async def blocking(sender: Any, event: Any, **kwargs: Any) -> None:
        begun.append(event.subject)
        await asyncio.sleep(0)
        block(1.5 * LEASE)

    broker = RedisBroker(redis_url, prefix)
    await publish(broker, *(event(str(number), 1) for number in range(4)))
    dead = await broker.acquire(PARTITION, "mail", "dead", 0.2)
    assert dead is not None
    await broker.fetch(dead, 10, inherit=True)
    with Told() as told:
        async with worker_on(broker, blocking):
            await eventually(lambda: len(begun) == 4)
    assert sorted(begun) == list("0123")
    assert told.of("tenure.lost") == []
    (backlog,) = await broker.backlog(PARTITION)
    assert (backlog.unfinished, backlog.dead) == (0, 0)
    await broker.close()


@pytest.mark.timeout(60)
async def test_one_connection_that_dies_without_a_word_costs_no_lease(
    redis_url: str, prefix: str
) -> None:
    """Just the connection over which leases are renewed; Redis answers on every other."""
    entered: list[str] = []
    go = asyncio.Event()

    async def waiting(sender: Any, event: Any, **kwargs: Any) -> None:
        entered.append(event.subject)
        await go.wait()

    async with Proxy(redis_url) as proxy:
        broker = RedisBroker(proxy.url, prefix)
        plain = RedisBroker(redis_url, prefix)
        partitions = await _streams(plain, 4)
        for number, partition in enumerate(partitions):
            await publish(plain, event(str(number), 1), partition=partition)
        with Told() as told:
            async with worker_on(broker, waiting):
                await eventually(lambda: len(entered) == 4)
                for _ in range(2):
                    before = proxy.silenced
                    proxy.silence_next(_script("renew").digest.encode())
                    await eventually(lambda before=before: proxy.silenced > before)
                    await asyncio.sleep(1.5 * LEASE)
                go.set()
        assert len(entered) == 4
        assert told.of("tenure.lost") == []
        assert told.of("leases.unanswered")
        await broker.close()
        await plain.close()


@pytest.mark.timeout(60)
async def test_calls_to_redis_at_rest_are_one_renewal_in_a_quarter_of_the_lease(
    redis_url: str, prefix: str
) -> None:
    broker = RedisBroker(redis_url, prefix)
    await _streams(broker, 8)
    groups = [
        Subscriptions(name, [replace(subscribe(_nothing), group=name)])
        for name in ("mail", "search")
    ]
    renewals: list[int] = []
    renew_all = broker.renew_all

    async def counted(leases: Any, ttl: float) -> Any:
        renewals.append(len(leases))
        return await renew_all(leases, ttl)

    broker.renew_all = counted  # type: ignore[method-assign]
    async with Worker(broker, groups, SETTINGS) as worker:
        await eventually(lambda: sum(len(each.partitions) for each in worker.consumers) == 16)
        renewals.clear()
        await asyncio.sleep(2 * LEASE)
        assert set(renewals) == {16}, "all leases of both groups in one conversation"
        assert len(renewals) <= 9
    await broker.close()


async def _nothing(sender: Any, **kwargs: Any) -> None: ...
