"""Test tables of older releases, which are migrated, and of newer releases: refused or used."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from edgy_bus.database import Database, definition_lock
from edgy_bus.database.versions import prepare
from edgy_bus.errors import ConfigurationError, DatabaseUnavailable
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.table import TABLES, meta, metadata, outbox, streams
from edgy_bus.runtime import inbox
from tests.support import Told
from tests.unit.outbox.support import write

NEW_COLUMNS = ("source", "to", "causation", "context")


async def make_old(database: Database) -> None:
    """Make the tables of the release before versions, with an event in them."""
    await database.create_tables(metadata)
    await database.create_tables(inbox.metadata)
    for column in NEW_COLUMNS:
        await database.script(f'ALTER TABLE edgy_bus_outbox DROP COLUMN "{column}"')
    await database.script("ALTER TABLE edgy_bus_stream DROP COLUMN generation")
    await database.script("DROP TABLE edgy_bus_meta")
    await database.script(
        "INSERT INTO edgy_bus_stream (model, label, epoch, head_ms, head_seq, head_event)"
        " VALUES ('accounts.User', '0', 'e', 1, 2, 'x')"
    )


async def entries(database: Database) -> dict[str, str]:
    return {row["name"]: row["value"] for row in (await database.run(sa.select(meta))).rows}


async def columns(database: Database, table: sa.Table) -> frozenset[str]:
    return (await database.existing(table)).columns[table.name]


def refuse_to_define(monkeypatch: pytest.MonkeyPatch) -> None:
    def defining(self: Database) -> object:
        raise AssertionError("a start took the lock of definitions")

    monkeypatch.setattr(Database, "defining", defining)


async def test_older_tables_get_what_is_missing_and_keep_their_rows(database: Database) -> None:
    await make_old(database)
    store = OutboxStore(database, "accounts")
    with Told() as notices:
        await store.prepare()
        await prepare(database, inbox.TABLES)
    assert await columns(database, outbox) >= set(NEW_COLUMNS)
    rows = (await database.run(sa.select(streams.c.generation, streams.c.head_seq))).rows
    assert rows == [{"generation": 1, "head_seq": 2}]
    await write(store, 2, source="accounts", to="mail/send")
    [row] = (await database.run(sa.select(outbox.c.source, outbox.c.to).distinct())).rows
    assert row == {"source": "accounts", "to": "mail/send"}
    assert await entries(database) == {
        "outbox.schema": "2",
        "outbox.compatible": "1",
        "outbox.id": store.id,
        "inbox.schema": "1",
        "inbox.compatible": "1",
    }
    assert notices.of("tables.changed") == [{"tables": "outbox", "version": 2, "statements": 6}]


async def test_a_column_that_any_older_release_lacked_is_added(database: Database) -> None:
    await make_old(database)
    await database.script("ALTER TABLE edgy_bus_stream DROP COLUMN former")
    await prepare(database, TABLES)
    assert (await database.run(sa.select(streams.c.former))).rows == [{"former": 1}]


async def test_a_start_with_current_tables_defines_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OutboxStore(database, "accounts")
    await store.prepare()
    await prepare(database, inbox.TABLES)
    refuse_to_define(monkeypatch)
    again = OutboxStore(database, "accounts")
    await again.prepare()
    await prepare(database, inbox.TABLES)
    await database.create_tables(metadata)
    assert again.id == store.id


async def test_every_outbox_has_an_id_of_its_own(database: Database, tmp_path: object) -> None:
    store = OutboxStore(database, "accounts")
    await store.prepare()
    async with Database(f"sqlite:///{tmp_path}/other.sqlite") as elsewhere:
        second = OutboxStore(elsewhere, "accounts")
        await second.prepare()
    assert len({store.id, second.id}) == 2


@pytest.mark.parametrize("old", [True, False], ids=["older tables", "no tables"])
async def test_programs_that_start_at_the_same_moment_agree(database_url: str, old: bool) -> None:
    databases = [Database(database_url) for _ in range(6)]
    await asyncio.gather(*(database.connect() for database in databases))
    if old:
        await make_old(databases[0])
    stores = [OutboxStore(database, "accounts") for database in databases]
    await asyncio.gather(*(store.prepare() for store in stores))
    assert len({store.id for store in stores}) == 1
    await asyncio.gather(*(database.disconnect() for database in databases))


# Newer releases


async def record(database: Database, version: int, compatible: int) -> None:
    """Leave the tables as a release of another version does."""
    await OutboxStore(database, "accounts").prepare()
    for name, value in (("outbox.schema", version), ("outbox.compatible", compatible)):
        newer = sa.update(meta).where(meta.c.name == name).values(value=str(value))
        await database.run(newer)


async def test_tables_that_only_newer_releases_may_use_are_refused(database: Database) -> None:
    await record(database, 9, 8)
    with pytest.raises(
        ConfigurationError,
        match=r"outbox have schema version 9 .* version 8 or newer; this release knows version 2: "
        "upgrade edgy-bus",
    ):
        await OutboxStore(database, "accounts").prepare()


async def test_newer_tables_that_are_marked_compatible_are_used_as_they_are(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(database, 9, 2)
    await database.script("ALTER TABLE edgy_bus_outbox ADD COLUMN later TEXT")
    refuse_to_define(monkeypatch)
    store = OutboxStore(database, "accounts")
    await store.prepare()
    await write(store, 1)
    assert (await entries(database))["outbox.schema"] == "9"


async def test_a_version_that_somebody_has_edited_is_refused(database: Database) -> None:
    await prepare(database, TABLES)
    await database.script("UPDATE edgy_bus_meta SET value = 'x' WHERE name = 'outbox.schema'")
    with pytest.raises(ConfigurationError, match=r"holds 'x' as outbox.schema: not a number"):
        await prepare(database, TABLES)


# Rights and locks


@asynccontextmanager
async def unprivileged(owner: Database, url: str) -> AsyncIterator[Database]:
    """Connect as a role that may read and write every table, and create nothing."""
    role = f"r_{secrets.token_hex(4)}"
    schema = url.partition("schema=")[2]
    await owner.script(
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema} TO {role}"
    )
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}"
    await owner.script(f"{grant}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}")
    try:
        async with Database(url, user=role, password="x") as database:
            yield database
    finally:
        await owner.script(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
async def owner(postgres_url: str) -> AsyncIterator[Database]:
    async with Database(postgres_url) as database:
        yield database


async def test_a_role_without_rights_starts_on_current_tables(
    owner: Database, postgres_url: str
) -> None:
    await owner.create_tables(metadata)  # as a migration does: no version is recorded
    async with unprivileged(owner, postgres_url) as database:
        store = OutboxStore(database, "accounts")
        await store.prepare()
        await write(store, 1)
        assert (await entries(database))["outbox.id"] == store.id


async def record_version_1(owner: Database) -> None:
    """Make the tables of an older release that recorded its version."""
    await make_old(owner)
    await owner.create_tables(meta)
    for name in ("outbox.schema", "outbox.compatible"):
        await owner.run(sa.insert(meta).values(name=name, value="1"))


async def nothing(owner: Database) -> None:
    """Make no tables."""


@pytest.mark.parametrize("make", [make_old, record_version_1, nothing])
async def test_a_role_without_rights_names_the_sql_that_its_owner_can_run(
    owner: Database, postgres_url: str, make: Callable[[Database], Awaitable[None]]
) -> None:
    await make(owner)
    async with unprivileged(owner, postgres_url) as database:
        with pytest.raises(
            ConfigurationError, match=r"outbox are missing or .*docs/migrations.md"
        ) as error:
            await OutboxStore(database, "accounts").prepare()
    script = str(error.value).partition("this SQL:\n")[2]
    await owner.script(script)
    async with unprivileged(owner, postgres_url) as database:
        store = OutboxStore(database, "accounts")
        await store.prepare()
        await write(store, 1)


async def test_a_long_transaction_holds_up_the_migration_and_not_other_writers(
    owner: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definition_lock, "PAUSE", 0.3)
    await make_old(owner)
    async with Database(postgres_url) as busy, Database(postgres_url) as writer:
        async with busy.transaction():
            await busy.script("INSERT INTO edgy_bus_group VALUES ('m', 'a')")
            await busy.script("UPDATE edgy_bus_stream SET epoch = 'f'")
            starting = asyncio.create_task(OutboxStore(owner, "accounts").prepare())
            longest = 0.0
            for number in range(12):
                begun = time.monotonic()
                await writer.script(
                    f"UPDATE edgy_bus_stream SET epoch = 'g' WHERE head_ms = {number + 5}"
                )
                longest = max(longest, time.monotonic() - begun)
                await asyncio.sleep(0.2)
            assert not starting.done()
            assert longest < 1.5, "a writer waits for one attempt at most"
        await starting
    assert await columns(owner, outbox) >= set(NEW_COLUMNS)


async def test_a_migration_gives_up_and_names_the_remedy(
    owner: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definition_lock, "PAUSE", 0.01)
    monkeypatch.setattr(definition_lock, "ATTEMPTS", 2)
    monkeypatch.setattr(definition_lock, "TABLE_TIMEOUT", "50ms")
    await make_old(owner)
    async with Database(postgres_url) as busy, busy.transaction():
        await busy.script("UPDATE edgy_bus_stream SET epoch = 'f'")
        with pytest.raises(DatabaseUnavailable, match="end long transactions, then start again"):
            await OutboxStore(owner, "accounts").prepare()
