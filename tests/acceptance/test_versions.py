"""Perform a rolling upgrade from the release before protocol versions to this release.

Services, relays and workers of one group run in both releases under load. No event is lost,
takes effect twice behind an inbox, or is handled out of the order of its row.
"""

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError
from edgy_bus.outbox.table import outbox, pending
from edgy_bus.runtime.inbox import inbox
from tests.support import eventually, lacks

ROOT = Path(__file__).parents[2]
OLD = "8c8a5da"
"""The last release whose tables and keys have no version."""

ORDERS = 8
"""As in `rolling.py`."""

effects = sa.table(
    "effects",
    *(sa.column(name) for name in ("id", "receiver", "subject", "sequence", "release")),
)


@pytest.fixture(scope="session")
def old_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was, from the history of this repository."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", OLD, "edgy_bus"]
    try:
        archive = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        lacks(
            f"release {OLD} is not in the history here ({error}): clone the whole history, as "
            "`git fetch --unshallow` does"
        )
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@dataclass
class Played:
    """A running program, and its output."""

    process: subprocess.Popen[bytes]
    log: Path

    async def has_written(self, text: str) -> "Played":
        await eventually(lambda: text in self.log.read_text("utf-8"), f"{text!r} in {self.log}")
        return self

    async def end(self) -> None:
        """Let the program end by itself."""
        assert await asyncio.to_thread(self.process.wait, 60) == 0, self.log.name

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        await self.end()


@dataclass
class Stage:
    """Where programs of both releases play."""

    folder: Path
    environment: dict[str, str]
    releases: dict[str, Path]
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self, release: str, *arguments: str) -> Played:
        """Start a program, which is killed at the end of the test if it still runs."""
        names = {"PYTHONPATH": str(self.releases[release]), "ROLLING_RELEASE": release}
        log = self.folder / f"{len(list(self.folder.iterdir()))}-{release}.log"
        with log.open("wb") as output:
            program = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment, **names},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.stack.callback(program.wait, 30)
        self.stack.callback(program.kill)
        return Played(program, log)

    async def service(self, release: str) -> Played:
        code = "import asyncio, rolling; asyncio.run(rolling.write())"
        folder = self.releases[release]
        return await self.start(release, "-c", code).has_written(f"writes with {folder}")

    async def worker(self, release: str) -> Played:
        worker = self.start(release, "-m", "edgy_bus", "worker", "rolling:mail")
        return await worker.has_written("worker.started")

    def relay(self, release: str) -> Played:
        return self.start(release, "-m", "edgy_bus", "relay", "rolling:bus")

    def logs(self) -> str:
        paths = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text('utf-8')[-3_000:]}" for path in paths)


@pytest.fixture
def stage(
    tmp_path: Path, database_url: str, redis_url: str, prefix: str, old_release: Path
) -> Iterator[Stage]:
    shutil.copy(Path(__file__).with_name("rolling.py"), tmp_path)
    environment = {
        "ROLLING_DATABASE": database_url,
        "ROLLING_BROKER": redis_url,
        "ROLLING_PREFIX": prefix,
    }
    stage = Stage(tmp_path, environment, {"old": old_release, "new": ROOT})
    with stage.stack:
        yield stage


async def rows_of(database: Database, query: sa.Select[tuple[object, ...]]) -> int:
    try:
        return len((await database.run(query)).rows)
    except DatabaseError:  # the table is not there yet
        return 0


async def grows(database: Database, by: int = 30) -> None:
    """Wait until receivers have handled some more."""
    begun = await rows_of(database, sa.select(effects.c.id))

    async def has_grown() -> bool:
        return await rows_of(database, sa.select(effects.c.id)) > begun + by

    await eventually(has_grown, "more effects")


@pytest.mark.timeout(180)
async def test_programs_of_both_releases_work_together(stage: Stage, database_url: str) -> None:
    async with Database(database_url) as database:
        try:
            await roll(stage, database)
            await check(database)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{stage.logs()}") from error


async def roll(stage: Stage, database: Database) -> None:
    """Upgrade everything program by program, go back to the old relay, and forward again."""
    leads = "relay.leads"
    old_service, old_worker = await stage.service("old"), await stage.worker("old")
    old_relay = await stage.relay("old").has_written(leads)
    await grows(database)
    # A new service migrates the tables while the old service writes, and the old relay publishes.
    new_service, new_worker = await stage.service("new"), await stage.worker("new")
    await grows(database)
    new_relay = stage.relay("new")
    await old_relay.stop()
    await new_relay.has_written(leads)
    await grows(database)
    # A crash, and the way back: the old relay repairs the streams that the new relay has left.
    new_relay.process.kill()
    old_relay = await stage.relay("old").has_written(leads)
    await old_worker.stop()
    await grows(database)
    old_worker, new_relay = await stage.worker("old"), stage.relay("new")
    await old_relay.stop()
    await new_relay.has_written(leads)
    await grows(database)
    (stage.folder / "enough").touch()
    await old_service.end()
    await new_service.end()

    async def all_handled() -> bool:
        events = await rows_of(database, sa.select(outbox.c.id))
        waiting = await rows_of(database, sa.select(pending.c.id))
        exact = sa.select(effects.c.id).where(effects.c.receiver == "exact")
        plain = sa.select(effects.c.sequence).where(effects.c.receiver == "plain").distinct()
        handled = [await rows_of(database, query) for query in (exact, plain)]
        return not waiting and min(handled) >= events

    await eventually(all_handled, "handling everything")
    for program in (old_worker, new_worker, new_relay):
        await program.stop()


async def check(database: Database) -> None:
    """Compare the effects with the outbox, whose ids are the order in which rows changed."""
    events: dict[str, list[int]] = {}
    columns = sa.select(outbox.c.id, outbox.c.subject).order_by(outbox.c.id)
    for row in (await database.run(columns)).rows:
        events.setdefault(row["subject"], []).append(row["id"])
    assert len(events) == ORDERS
    seen = (await database.run(sa.select(effects).order_by(effects.c.id))).rows
    for subject, ids in events.items():
        calls = [row for row in seen if row["subject"] == subject]
        exact = [row["sequence"] for row in calls if row["receiver"] == "exact"]
        assert exact == ids, f"behind the inbox, order {subject}"
        plain = [row["sequence"] for row in calls if row["receiver"] == "plain"]
        assert list(dict.fromkeys(plain)) == ids, f"at least once and in order, order {subject}"
    assert {row["release"] for row in seen} == {"old", "new"}
    sources = {row["source"] for row in (await database.run(sa.select(inbox.c.source))).rows}
    assert sources == {"shop"}
