"""The programs of docs/wire-format.md: a consumer in JavaScript, and a publisher in SQL."""

import asyncio
import json
import re
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import jsonschema
import pytest
from redis.asyncio import Redis
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus import operations
from edgy_bus.codec import dumps, loads
from edgy_bus.contracts import Contract, json_schema, model_contracts
from edgy_bus.events import new_event_id, partition_number
from edgy_bus.outbox.table import pending
from tests.support import eventually, lacks

PAGE = Path(__file__).parents[2] / "docs" / "wire-format.md"
PARTITIONS = 2
GROUP = "javascript"


def block(language: str) -> str:
    """Return the only block of a language on the page."""
    [code] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return str(code)


class Bank:
    """The service `bank` with its model, on PostgreSQL."""

    def __init__(
        self, url: str, redis_url: str, prefix: str, partitions: int, keep: float = 0
    ) -> None:
        relaying = edgy.RelaySettings(poll=0.05, lease=1.0, trim_every=0.1, keep=keep)
        events = edgy.EventSettings(partitions=partitions)
        self.bus = edgy.Bus(
            redis_url, service="bank", prefix=prefix, relaying=relaying, events=events
        )
        self.database = edgy.Database(url)
        own = edgy.Registry(self.database, bus=self.bus)
        self.registry = own

        class Account(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            owner: str = edgy.CharField(max_length=50)
            balance: int = edgy.BigIntegerField(default=0)

            class Meta:
                registry = own
                tablename = "accounts"
                publish = "post_*"

        self.Account = Account


class Consumer:
    """The consumer of the page, in a process."""

    def __init__(self, script: Path, redis_url: str, prefix: str) -> None:
        address = urlsplit(redis_url)
        self._words = [
            *(str(script), address.hostname or "localhost", str(address.port or 6379)),
            *(prefix, "bank.Account", str(PARTITIONS), GROUP),
        ]
        self.handled: list[Any] = []
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec("node", *self._words, stdout=PIPE)
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            # A process that is killed may leave half a line.
            if line.endswith(b"\n"):
                self.handled.append(json.loads(line))

    def newest(self) -> dict[str, int]:
        """Return the last balance that the consumer has seen of each account."""
        return {each["key"]: each["row"]["balance"] for each in self.handled}

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading


@pytest.fixture
async def consumer(tmp_path: Path, redis_url: str, prefix: str) -> AsyncIterator[Consumer]:
    if shutil.which("node") is None:
        lacks("node is not on the PATH")
    script = tmp_path / "consumer.mjs"
    script.write_text(block("javascript"), "utf-8")
    consumer = Consumer(script, redis_url, prefix)
    await consumer.start()
    yield consumer
    await consumer.kill()


async def test_the_consumer_in_javascript(
    consumer: Consumer, postgres_url: str, redis_url: str, redis_client: Redis, prefix: str
) -> None:
    """Every change in the order of its row, a crash included; trimming waits for the consumer."""
    bank = Bank(postgres_url, redis_url, prefix, PARTITIONS)
    streams = [f"{prefix}:{{bank.Account:{number}}}:events" for number in range(PARTITIONS)]

    async def entries() -> int:
        return sum([await redis_client.xlen(stream) for stream in streams])

    async def is_acknowledged() -> bool:
        groups = [group for each in streams for group in await redis_client.xinfo_groups(each)]
        return all(group["pending"] == 0 and group["lag"] == 0 for group in groups)

    async def deposit(amounts: range) -> None:
        for amount in amounts:
            for account in accounts:
                await account.update(balance=amount)

    # A group of the library beside the consumer: without any group, nothing is ever finished.
    @edgy.signals.post_update(bank.Account)
    async def follow(sender: Any, instance: Any, **kwargs: Any) -> None: ...

    async with bank.bus, bank.bus.worker():
        await bank.registry.create_all()
        accounts = [await bank.Account.query.create(owner=name) for name in ("Ada", "Grace", "Ida")]
        await deposit(range(1, 20))
        await eventually(lambda: len(consumer.handled) >= 10, "the first events")
        await consumer.kill()
        before_crash = len(consumer.handled)
        await deposit(range(20, 40))
        await eventually(lambda: is_published(bank), "the relay")
        # The consumer is away: everything that it has not acknowledged stays.
        kept = await entries()
        assert kept >= 60
        await consumer.start()
        wanted = {str(account.id): 39 for account in accounts}
        await eventually(lambda: consumer.newest() == wanted, "the newest state of every account")
        await eventually(is_acknowledged, "acknowledgements")
        # The newest entry of a stream stays: publishing compares it.
        await eventually(lambda: is_at_most(entries, PARTITIONS), "trimming")
        # Repeats are recognised: here everything is delivered once more.
        for stream in streams:
            await redis_client.xgroup_setid(stream, GROUP, "0")
        await eventually(is_acknowledged, "acknowledgements of repeats")
        # And a loss of Redis is survived.
        await redis_client.delete(*streams)
        await deposit(range(40, 42))
        wanted = {str(account.id): 41 for account in accounts}
        await eventually(lambda: consumer.newest() == wanted, "events after a loss")
        # Each process sees each row's changes in their order, and each once.
        for handled in (consumer.handled[:before_crash], consumer.handled[before_crash:]):
            for account in accounts:
                seen = [
                    each["row"]["balance"] for each in handled if each["key"] == str(account.id)
                ]
                assert seen == sorted(set(seen))
        # A consumer that does not come back keeps everything, until an operator forgets its group.
        await consumer.kill()
        await deposit(range(42, 62))
        await eventually(lambda: is_published(bank), "the relay")
        assert await entries() >= 60
        assert await bank.bus.forget(GROUP) == 1
        await eventually(lambda: is_at_most(entries, PARTITIONS), "trimming")


async def run_script(url: str, script: str) -> None:
    """Run statements as psql does, on a connection that knows nothing of this library."""
    plain, _, query = url.partition("?")
    options = dict(pair.split("=", 1) for pair in query.split("&"))
    schema = options.pop("schema")
    rest = "&".join(f"{name}={value}" for name, value in options.items())
    address = f"{plain}?{rest}" if rest else plain
    connection = await asyncpg.connect(address, server_settings={"search_path": schema})
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def is_published(bank: Bank) -> bool:
    """Return whether every event is in its stream."""
    return not (await bank.database.run(select(pending.c.id).limit(1))).rows


async def is_at_most(count: Any, most: int) -> bool:
    return bool(await count() <= most)


async def test_the_publisher_in_sql(
    postgres_url: str, redis_url: str, redis_client: Redis, prefix: str
) -> None:
    """The events of plain SQL fit the contract, and stand among the events of the row."""
    # Entries that are finished stay for a while, so that the test can read them.
    bank = Bank(postgres_url, redis_url, prefix, 8, keep=60)
    heard: list[Any] = []

    @edgy.signals.post_update(bank.Account)
    async def hear(sender: Any, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
        heard.append((event.sequence, instance.balance, kwargs["values"]))

    async with bank.bus, bank.bus.worker():
        await bank.registry.create_all()
        account = await bank.Account.query.create(id=42, owner="Ada", balance=100)
        await run_script(postgres_url, block("sql"))
        await eventually(lambda: len(heard) == 1, "the event of the publisher")
        await account.update(balance=5)
        await eventually(lambda: len(heard) == 2, "the event behind it")
        async with bank.bus.operating() as parts:
            [model] = (await operations.catalogue(parts.broker)).models
        assert (model.name, model.service, model.partitions) == ("bank.Account", "bank", 8)
        [subscriber] = model.subscribers
        assert (subscriber.signal, subscriber.group, subscriber.workers) == (
            "post_update",
            "bank",
            1,
        )
        assert heard == [(2, 90, {"balance": 90}), (3, 5, {"balance": 5})]
        stream = f"{prefix}:{{bank.Account:{partition_number('42', 8)}}}:events"
        listed = [fields for _, fields in await redis_client.xrange(stream)]
    assert len(listed) == 3
    contract = Contract("bank", "", prefix, 8, model_contracts("bank", bank.bus.registries), ())
    validator = jsonschema.Draft7Validator(loads(dumps(json_schema(contract))))
    for fields in listed:
        validator.validate({**loads(fields[b"head"]), "data": loads(fields[b"data"])})


async def test_an_entry_that_no_outbox_has_written_is_a_finding(
    database_url: str, redis_url: str, redis_client: Redis, prefix: str
) -> None:
    """Also an entry that looks like an event: the outbox does not know the event."""
    bank = Bank(database_url, redis_url, prefix, 1)

    async def findings(**options: Any) -> list[str]:
        async with bank.bus.operating(databases=True) as parts:
            diagnosis = await operations.doctor(parts, seconds=0, **options)
        return [each.code for each in diagnosis.findings if each.code.startswith("stream.")]

    async with bank.bus:
        await bank.registry.create_all()
        account = await bank.Account.query.create(owner="Ada")
        await eventually(lambda: is_published(bank), "the relay")
        assert await findings() == []
        stream = f"{prefix}:{{bank.Account:0}}:events"
        [(_, fields)] = await redis_client.xrange(stream)
        forged = {**loads(fields[b"head"]), "id": new_event_id(), "sequence": 2**40}
        entry = {"id": forged["id"], "head": dumps(forged), "data": b"{}"}
        await redis_client.xadd(stream, entry)
        assert await findings() == ["stream.foreign"]
        # Without all databases, nobody knows what the missing outbox has written.
        assert await findings(unreachable="a database does not answer") == []
        # The events of the service itself stay known, whatever the relay makes of the entry.
        await account.update(balance=1)
        await eventually(lambda: is_published(bank), "the relay")
        assert await findings() == ["stream.foreign"]
