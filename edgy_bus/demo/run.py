"""One run of the demonstration, from finding the servers to the account."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from rich.console import Console
from sqlalchemy import text

from edgy_bus.brokers.base import Backlog
from edgy_bus.codec import loads
from edgy_bus.database import Database
from edgy_bus.demo.accounting import Account, account_of, expected_effects
from edgy_bus.demo.display import Display, GroupState, display_for
from edgy_bus.demo.place import Place
from edgy_bus.demo.processes import Program
from edgy_bus.errors import ConfigurationError, EdgyBusError
from edgy_bus.events import Partition, partitions_of
from edgy_bus.testing.servers import Server, find_redis

USERS, USERS_FAST = 3_000, 300
GROUPS = ("notifications", "search")
WORKERS = 2
PATIENCE = 60.0
"""Seconds that the workers have for coming up, and again for catching up."""

_DATABASES = ("accounts", *GROUPS)


def run(console: Console, *, users: int, database: str | None = None) -> bool:
    """Run it; whether the account adds up. Cleans up after itself, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="edgy-bus-demo-"))
    try:
        with find_redis() as server:
            place = choose_place(server, database, folder)
            os.environ.update(place.environment())
            display = display_for(console)
            display.say(f"broker: {server.origin}, keys under {place.prefix}:*")
            display.say(f"database: {_described(place)}")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_Run(place, folder, display, users).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def choose_place(server: Server, database: str | None, folder: Path) -> Place:
    """Databases and keys that nobody else has. Raises `ConfigurationError` for a database URL that cannot be used."""
    run_id = secrets.token_hex(4)
    if database is None:
        urls = {name: f"sqlite:///{folder / name}.sqlite" for name in _DATABASES}
    elif urlsplit(database).scheme == "sqlite":
        urls = {name: _beside(database, name) for name in _DATABASES}
    else:
        joint = "&" if "?" in database else "?"
        urls = {name: f"{database}{joint}schema=edgy_demo_{run_id}_{name}" for name in _DATABASES}
        Database(urls["accounts"])  # a scheme that is not known is refused here
    return Place(broker=server.url, prefix=f"edgy-demo-{run_id}", **urls)


def _beside(url: str, name: str) -> str:
    """A file for each service: `demo.sqlite` becomes `demo-accounts.sqlite` and so on."""
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    chosen = path.with_name(f"{path.stem}-{name}{path.suffix}")
    if chosen.exists():
        raise ConfigurationError(
            f"{chosen} is there already, and the demonstration only uses files that it made"
        )
    return f"sqlite:///{chosen}"


def _described(place: Place) -> str:
    parts = urlsplit(place.accounts)
    if parts.scheme == "sqlite":
        return f"SQLite, {Path(place.accounts.removeprefix('sqlite:///')).parent}"
    return f"PostgreSQL on {parts.hostname or 'localhost'}, schemas of its own"


class _Run:
    """The run itself."""

    def __init__(self, place: Place, folder: Path, display: Display, users: int) -> None:
        # These modules read where the run takes place when they are imported.
        from edgy_bus.demo import accounts, notifications, search
        from edgy_bus.demo.driver import Driver

        self._accounts, self._notifications, self._search = accounts, notifications, search
        self._place = place
        self._folder = folder
        self._display = display
        self._done = 0
        self._driver = Driver(accounts.database, users, self._progressed)
        self._relay = self._program("relay", "relay", "edgy_bus.demo.accounts:bus")
        self._workers = {
            group: [
                self._program(f"{group}-{number + 1}", "worker", f"edgy_bus.demo.{group}:bus")
                for number in range(WORKERS)
            ]
            for group in GROUPS
        }
        self._half_way = asyncio.Event()

    async def run(self) -> bool:
        async with AsyncExitStack() as stack:
            await self._prepare(stack)
            for program in self._programs:
                stack.push_async_callback(program.stop)
                await program.start()
            with self._display:
                watching = asyncio.create_task(self._watch())
                try:
                    await self._until(self._all_workers_are_up, "the workers did not come up")
                    await asyncio.gather(self._driver.run(), self._kill_one_half_way())
                    await self._until(self._all_is_handled, "the groups did not catch up")
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
                await self._show()
            for program in self._programs:
                await program.stop()
            account = await self._account()
        self._display.account(account)
        return account.good

    # Before and after

    async def _prepare(self, stack: AsyncExitStack) -> None:
        for module in (self._accounts, self._notifications, self._search):
            await stack.enter_async_context(module.database)
            if module.database.dialect.name == "postgresql":
                stack.push_async_callback(self._drop_schema, module.database)
            await module.registry.create_all()
        broker = self._accounts.bus.broker
        if broker is None:
            raise RuntimeError("the demonstration has a broker")
        self._broker = broker
        stack.push_async_callback(broker.erase)
        await stack.enter_async_context(self._accounts.bus)

    async def _drop_schema(self, database: Database) -> None:
        row = (await database.run(text("SELECT current_schema() AS name"))).rows[0]
        await database.script(f'DROP SCHEMA "{row["name"]}" CASCADE')

    async def _account(self) -> Account:
        ledger = self._driver.ledger
        expected = expected_effects(ledger.versions)
        mails = await self._notifications.Mail.query.order_by("id")
        steps = await self._search.Step.query.order_by("id")
        return Account(
            committed=ledger.committed,
            vetoed=ledger.vetoed,
            rolled_back=ledger.rolled_back,
            groups=(
                account_of(
                    "notifications", expected, [(mail.user_id, mail.version) for mail in mails]
                ),
                account_of(
                    "search",
                    expected,
                    [(step.user_id, step.version) for step in steps],
                    await self._differing_rows(),
                ),
            ),
        )

    async def _differing_rows(self) -> int:
        users = {(user.id, user.name, user.email) for user in await self._accounts.User.query}
        entries = {
            (entry.user_id, entry.name, entry.email) for entry in await self._search.Entry.query
        }
        return len(users ^ entries)

    # Meanwhile

    def _progressed(self) -> None:
        self._done += 1
        if self._done * 2 >= self._driver.operations:
            self._half_way.set()

    async def _kill_one_half_way(self) -> None:
        await self._half_way.wait()
        victim = self._workers["notifications"][0]
        victim.kill()
        self._display.say(
            f"killed {victim.name} (process {victim.pid}) with SIGKILL; the others go on"
        )

    async def _all_workers_are_up(self) -> bool:
        return all([len((await self._broker.members(group)).alive) == WORKERS for group in GROUPS])

    async def _all_is_handled(self) -> bool:
        if await self._unpublished():
            return False
        backlogs = [await self._broker.backlog(stream) for stream in self._streams]
        # A group that has not come to a stream yet has no backlog there, and everything to do.
        return all(
            {one.group for one in found} >= set(GROUPS)
            and not any(one.pending or one.lag for one in found)
            for found in backlogs
        )

    async def _until(self, condition: Callable[[], Awaitable[bool]], failure: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            dead = next((program for program in self._programs if program.died), None)
            if dead is not None:
                raise EdgyBusError(f"{dead.name} ended by itself:\n{dead.log}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {program.name}\n{program.log}" for program in self._programs)
                raise EdgyBusError(f"{failure} within {PATIENCE:g} s\n{logs}")
            await asyncio.sleep(0.1)

    async def _watch(self) -> None:
        while True:
            await self._show()
            await asyncio.sleep(0.4)

    async def _show(self) -> None:
        self._display.show(
            self._done, self._driver.operations, await self._unpublished(), await self._states()
        )

    async def _unpublished(self) -> int:
        result = await self._accounts.database.run(
            text("SELECT count(*) AS n FROM edgy_bus_pending")
        )
        return int(result.rows[0]["n"])

    async def _states(self) -> list[GroupState]:
        backlogs = [one for stream in self._streams for one in await self._broker.backlog(stream)]
        return [
            await self._state(group, [one for one in backlogs if one.group == group])
            for group in GROUPS
        ]

    async def _state(self, group: str, backlogs: Sequence[Backlog]) -> GroupState:
        members = await self._broker.members(group)
        reports = [loads(report) for report in members.reports.values()]
        return GroupState(
            name=group,
            workers=len(members.alive),
            handled=sum(report["handled"] for report in reports),
            pending=sum(one.pending for one in backlogs),
            lag=sum(one.lag or 0 for one in backlogs),
            retries=sum(report["retries"] for report in reports),
        )

    @property
    def _streams(self) -> Sequence[Partition]:
        return partitions_of("accounts.User", self._accounts.bus.events.partitions)

    @property
    def _programs(self) -> list[Program]:
        return [self._relay, *(worker for workers in self._workers.values() for worker in workers)]

    def _program(self, name: str, *arguments: str) -> Program:
        return Program(name, arguments, self._place.environment(), self._folder)
