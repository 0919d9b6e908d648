"""Run the demonstration, from the search for servers to the account."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections import defaultdict
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
from edgy_bus.demo.config import DemoConfig
from edgy_bus.demo.display import Display, GroupState, display_for
from edgy_bus.demo.processes import Program
from edgy_bus.errors import ConfigurationError, EdgyBusError
from edgy_bus.events import Partition, partitions_of
from edgy_bus.testing.servers import Server, find_redis

USERS, USERS_FAST = 3_000, 300
GROUPS = ("notifications", "search")
WORKERS = 2
PATIENCE = 60.0
"""Seconds for the workers to start, and again for the groups to catch up."""

_DATABASES = ("accounts", *GROUPS)


def run(console: Console, *, users: int, database: str | None = None) -> bool:
    """Run the demonstration, and return whether the account adds up.

    Removes its files, keys, schemas and processes, no matter how the run ends.

    Args:
        console: where to print.
        users: how many users to create.
        database: a database URL; None for SQLite files in a temporary directory.

    Raises:
        ConfigurationError: if the database URL is invalid.
        ServerNotFound: if no Redis was found or started.
        EdgyBusError: if a process ended by itself, or the groups did not catch up.
    """
    folder = Path(tempfile.mkdtemp(prefix="edgy-bus-demo-"))
    try:
        with find_redis() as server:
            config = choose_config(server, database, folder)
            os.environ.update(config.environment())
            display = display_for(console)
            display.say(f"broker: {server.origin}, keys under {config.prefix}:*")
            display.say(f"database: {_database_text(config)}")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_Run(config, folder, display, users).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def choose_config(server: Server, database: str | None, folder: Path) -> DemoConfig:
    """Choose databases and keys that no other program uses.

    Raises:
        ConfigurationError: for an invalid database URL, and for an existing SQLite file.
    """
    # A random part in every name: two runs on the same servers must not count each other's events.
    run_id = secrets.token_hex(4)
    if database is None:
        urls = {name: f"sqlite:///{folder / name}.sqlite" for name in _DATABASES}
    elif urlsplit(database).scheme == "sqlite":
        urls = {name: _beside(database, name) for name in _DATABASES}
    else:
        joint = "&" if "?" in database else "?"
        urls = {name: f"{database}{joint}schema=edgy_demo_{run_id}_{name}" for name in _DATABASES}
        # Constructed only for the check: an invalid URL is refused before anything is started.
        Database(urls["accounts"])
    return DemoConfig(broker=server.url, prefix=f"edgy-demo-{run_id}", **urls)


def _beside(url: str, name: str) -> str:
    """Return the URL of a service's file: `demo.sqlite` becomes `demo-accounts.sqlite`."""
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    service_path = path.with_name(f"{path.stem}-{name}{path.suffix}")
    # Rows of an earlier run would count as phantoms, and a user's file must not be changed.
    if service_path.exists():
        raise ConfigurationError(
            f"{service_path} is there already, and the demonstration only uses files that it made:"
            " remove the file or name another"
        )
    return f"sqlite:///{service_path}"


def _database_text(config: DemoConfig) -> str:
    """Describe the databases without the password that their URLs may contain."""
    parts = urlsplit(config.accounts)
    if parts.scheme == "sqlite":
        folder = Path(config.accounts.removeprefix("sqlite:///")).parent
        return f"SQLite, {folder}"
    return f"PostgreSQL on {parts.hostname or 'localhost'}, schemas of its own"


class _Run:
    """Start the programs, drive the operations, and compute the account."""

    def __init__(self, config: DemoConfig, folder: Path, display: Display, users: int) -> None:
        # These modules read the configuration of the run when they are imported, so the import has
        # to wait until the environment variable is set.
        from edgy_bus.demo import accounts, notifications, search
        from edgy_bus.demo.driver import Driver

        self._accounts, self._notifications, self._search = accounts, notifications, search
        self._config = config
        self._folder = folder
        self._display = display
        self._done = 0
        self._driver = Driver(accounts.database, users, self._on_progress)
        self._relay = self._program("relay", "relay", "edgy_bus.demo.accounts:bus")
        self._workers = {group: self._worker_programs(group) for group in GROUPS}
        self._half_way = asyncio.Event()

    async def run(self) -> bool:
        """Run everything, and return whether the account adds up."""
        async with AsyncExitStack() as stack:
            await self._prepare(stack)
            for program in self._programs:
                stack.push_async_callback(program.stop)
                await program.start()
            with self._display:
                await self._drive()
            # Stopped before the account: a worker that is still running could add effects while
            # the account reads the tables.
            for program in self._programs:
                await program.stop()
            account = await self._account()
        self._display.account(account)
        return account.good

    async def _drive(self) -> None:
        """Run all operations, kill a worker half-way, and wait until the groups caught up."""
        watching = asyncio.create_task(self._watch())
        try:
            await self._until(self._all_workers_are_up, "the workers did not come up")
            await asyncio.gather(self._driver.run(), self._kill_worker_half_way())
            await self._until(self._all_is_handled, "the groups did not catch up")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await self._show()

    # Before and after the run

    async def _prepare(self, stack: AsyncExitStack) -> None:
        for module in (self._accounts, self._notifications, self._search):
            await stack.enter_async_context(module.database)
            if module.database.dialect.name == "postgresql":
                stack.push_async_callback(self._drop_schema, module.database)
            await module.registry.create_all()
        # Erased last, when no program writes keys any more: exit callbacks run in reverse order,
        # and the programs are added after this.
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
        mail_effects = [(mail.user_id, mail.version) for mail in mails]
        step_effects = [(step.user_id, step.version) for step in steps]
        differing = await self._differing_rows()
        notifications = account_of("notifications", expected, mail_effects)
        search = account_of("search", expected, step_effects, differing)
        return Account(
            committed=ledger.committed,
            vetoed=ledger.vetoed,
            rolled_back=ledger.rolled_back,
            groups=(notifications, search),
        )

    async def _differing_rows(self) -> int:
        """Count the rows that only the source or only the index has."""
        users = await self._accounts.User.query
        entries = await self._search.Entry.query
        expected = {(user.id, user.name, user.email) for user in users}
        actual = {(entry.user_id, entry.name, entry.email) for entry in entries}
        return len(expected ^ actual)

    # During the run

    def _on_progress(self) -> None:
        self._done += 1
        if self._done * 2 >= self._driver.operations:
            self._half_way.set()

    async def _kill_worker_half_way(self) -> None:
        await self._half_way.wait()
        victim = self._workers["notifications"][0]
        victim.kill()
        self._display.say(
            f"killed {victim.name} (process {victim.pid}) with SIGKILL; the other workers go on"
        )

    async def _all_workers_are_up(self) -> bool:
        for group in GROUPS:
            members = await self._broker.members(group)
            if len(members.alive) != WORKERS:
                return False
        return True

    async def _all_is_handled(self) -> bool:
        if await self._unpublished():
            return False
        for stream in self._streams:
            backlogs = await self._broker.backlog(stream)
            # A group without a backlog has not opened this stream yet, and has all its work to do.
            if not {backlog.group for backlog in backlogs} >= set(GROUPS):
                return False
            if any(backlog.unfinished or backlog.unread for backlog in backlogs):
                return False
        return True

    async def _until(self, condition: Callable[[], Awaitable[bool]], failure: str) -> None:
        """Wait for a condition; raise `EdgyBusError` when a program dies or the time is over."""
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            # A dead program makes most conditions false for ever. Its log names the reason, and the
            # deadline would only hide that log behind "did not catch up".
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
        backlogs: dict[str, list[Backlog]] = defaultdict(list)
        for stream in self._streams:
            for backlog in await self._broker.backlog(stream):
                backlogs[backlog.group].append(backlog)
        return [await self._state(group, backlogs[group]) for group in GROUPS]

    async def _state(self, group: str, backlogs: Sequence[Backlog]) -> GroupState:
        members = await self._broker.members(group)
        reports = [loads(report) for report in members.reports.values()]
        return GroupState(
            name=group,
            workers=len(members.alive),
            handled=sum(report["handled"] for report in reports),
            unfinished=sum(backlog.unfinished for backlog in backlogs),
            unread=sum(backlog.unread or 0 for backlog in backlogs),
            retries=sum(report["retries"] for report in reports),
        )

    @property
    def _streams(self) -> Sequence[Partition]:
        return partitions_of("accounts.User", self._accounts.bus.events.partitions)

    @property
    def _programs(self) -> list[Program]:
        return [self._relay, *(worker for workers in self._workers.values() for worker in workers)]

    def _worker_programs(self, group: str) -> list[Program]:
        target = f"edgy_bus.demo.{group}:bus"
        return [
            self._program(f"{group}-{number}", "worker", target) for number in range(1, WORKERS + 1)
        ]

    def _program(self, name: str, *arguments: str) -> Program:
        return Program(name, arguments, self._config.environment(), self._folder)
