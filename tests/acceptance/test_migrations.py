"""Follow docs/migrations.md: migrations by Alembic create the tables of the models and the bus."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "migrations.md").read_text("utf-8")


def alembic(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    alembic(tmp_path, "init", "migrations")
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        name = re.match(r"# (\S+\.py)\n", block)
        assert name is not None
        (tmp_path / name[1]).write_text(block)
    return tmp_path


def test_alembic_writes_the_migration_and_finds_nothing_left_to_do(project: Path) -> None:
    alembic(project, "revision", "--autogenerate", "-m", "everything")
    alembic(project, "upgrade", "head")
    with sqlite3.connect(project / "shop.sqlite") as connection:
        found = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    connection.close()
    assert {"items", "edgy_bus_outbox", "edgy_bus_stream", "edgy_bus_inbox"} <= found
    assert "No new upgrade operations detected" in alembic(project, "check")


def test_a_later_change_is_found_and_applied(project: Path) -> None:
    alembic(project, "revision", "--autogenerate", "-m", "everything")
    alembic(project, "upgrade", "head")
    app = project / "app.py"
    app.write_text(
        app.read_text().replace(
            "    settings:", "    stock: int | None = edgy.IntegerField(null=True)\n    settings:"
        )
    )
    alembic(project, "revision", "--autogenerate", "-m", "stock")
    alembic(project, "upgrade", "head")
    with sqlite3.connect(project / "shop.sqlite") as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(items)")}
    connection.close()
    assert "stock" in columns


def test_the_bus_starts_on_the_tables_of_the_migration(project: Path) -> None:
    alembic(project, "revision", "--autogenerate", "-m", "everything")
    alembic(project, "upgrade", "head")
    code = """
import asyncio
from app import Item, bus

async def main():
    async with bus:
        item = await Item.query.create(name="a", price="1.50")
        await item.update(price="2.25")
        print((await Item.query.get(name="a")).price)

asyncio.run(main())
"""
    (project / "app.py").write_text(
        (project / "app.py").read_text().replace("localhost:6379", "127.0.0.1:1")
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.stdout == "2.25\n", done.stderr


NEW_COLUMNS = ("source", "to", "causation", "context")


def make_old(project: Path) -> None:
    """Take out of the tables what the release before versions did not have."""
    with sqlite3.connect(project / "shop.sqlite") as connection:
        for column in NEW_COLUMNS:
            connection.execute(f'ALTER TABLE edgy_bus_outbox DROP COLUMN "{column}"')
        connection.execute("ALTER TABLE edgy_bus_stream DROP COLUMN generation")
        connection.execute("DROP TABLE edgy_bus_meta")
    connection.close()


def test_alembic_finds_what_a_new_release_adds(project: Path) -> None:
    alembic(project, "revision", "--autogenerate", "-m", "everything")
    alembic(project, "upgrade", "head")
    make_old(project)
    alembic(project, "revision", "--autogenerate", "-m", "upgrade")
    [revision] = (project / "migrations" / "versions").glob("*_upgrade.py")
    text = revision.read_text()
    for column in (*NEW_COLUMNS, "generation"):
        assert f"add_column(sa.Column('{column}'" in text
    alembic(project, "upgrade", "head")
    assert "No new upgrade operations detected" in alembic(project, "check")


def test_the_sql_of_the_page_does_the_same(project: Path) -> None:
    alembic(project, "revision", "--autogenerate", "-m", "everything")
    alembic(project, "upgrade", "head")
    make_old(project)
    [script] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with sqlite3.connect(project / "shop.sqlite") as connection:
        connection.executescript(script)
    connection.close()
    assert "No new upgrade operations detected" in alembic(project, "check")
