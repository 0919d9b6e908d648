"""The pending table keeps its storage parameters with every SQLAlchemy that is supported."""

from sqlalchemy import text
from sqlalchemy.schema import CreateTable

from edgy_bus import Database
from edgy_bus.outbox.table import pending


async def test_postgresql_vacuums_the_pending_table_by_count(postgres_url: str) -> None:
    """SQLAlchemy 2.0 has no argument for these parameters, 2.1 has: see `outbox/table.py`."""
    async with Database(postgres_url) as database:
        # Not `create_tables`: its lock is shared by all users of the server's database.
        await database.run(CreateTable(pending))
        query = text("SELECT reloptions FROM pg_class WHERE oid = 'edgy_bus_pending'::regclass")
        (row,) = (await database.run(query)).rows
    assert "autovacuum_vacuum_scale_factor=0" in row["reloptions"]
    assert "autovacuum_vacuum_threshold=5000" in row["reloptions"]
