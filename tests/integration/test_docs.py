"""Check the documentation.

Every snippet runs, in order, and every row of the table of operations holds on both databases.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

import edgy_bus as edgy
from edgy_bus.models.lookups import LOOKUPS
from edgy_bus.outbox.table import outbox
from tests.support import snippets

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [
    "signals",
    "receivers",
    "models",
    "fields",
    "queries",
    "transactions",
    "sqlalchemy",
    "edgy",
]
PAGES = {name: DOCS / f"{name}.md" for name in NAMES if (DOCS / f"{name}.md").exists()}
HOW_TO = {f"how-to/{page.stem}": page for page in sorted((DOCS / "how-to").glob("*.md"))}
ROWS = re.findall(
    r"^\| `(await .*)` \| (\w+) \| (\d) \| (\d) \|$",
    PAGES["signals"].read_text("utf-8"),
    re.MULTILINE,
)


async def run(code: str, names: dict[str, Any], where: str) -> None:
    """Run code that may await outside of functions."""
    compiled = compile(code, where, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    answer = eval(compiled, names)
    if inspect.isawaitable(answer):
        await answer


@pytest.mark.parametrize("page", [*PAGES, *HOW_TO])
async def test_every_snippet_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page == "sqlalchemy":
        pytest.importorskip("greenlet", reason="SQLAlchemy's asynchronous sessions need greenlet")
    if page == "edgy":
        pytest.importorskip("edgy", reason="Edgy has an environment of its own: make test-edgy")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": f"{page}_page"}
    blocks = [block for block in snippets(DOCS / f"{page}.md") if not block.condition]
    assert len(blocks) >= (4 if page in PAGES else 1)
    for block in blocks:
        await run(block.code, names, f"docs/{page}.md")


def test_snippets_without_an_event_loop_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [
        block
        for block in snippets(HOW_TO["how-to/synchronous"])
        if block.condition in {"", "outside of an event loop"}
    ]
    assert len(blocks) == 3
    names: dict[str, Any] = {"__name__": "shop"}
    for block in blocks:
        exec(compile(block.code, "docs/how-to/synchronous.md", "exec"), names)


def test_the_page_of_queries_lists_every_lookup() -> None:
    listed = re.findall(r"`\w+__(\w+)=", PAGES["queries"].read_text("utf-8"))
    assert set(LOOKUPS) <= set(listed)


@pytest.mark.parametrize(("code", "signals", "calls", "events"), ROWS, ids=[row[0] for row in ROWS])
async def test_every_operation_sends_what_the_table_says(
    database: edgy.Database, code: str, signals: str, calls: str, events: str
) -> None:
    bus = edgy.Bus("memory://", service="accounts", relay=False)
    own = edgy.Registry(database, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=255)
        email: str = edgy.CharField(max_length=255, unique=True)

        class Meta:
            registry = own

    heard: list[str] = []

    def listen(name: str) -> None:
        async def receiver(sender: Any, **kwargs: Any) -> None:
            heard.append(name)

        User.meta.signals[name].connect(receiver, edgy.Options(local=True))

    async with bus:
        await own.create_all()
        user, _ = await User.query.bulk_create([{"name": one, "email": one} for one in "ab"])
        await database.run(outbox.delete())
        for signal in list(User.meta.signals):
            listen(signal.name)
        await run(code, {"User": User, "user": user}, "the table")
        rows = (
            await database.run(
                select(outbox.c.signal, func.count().label("n")).group_by(outbox.c.signal)
            )
        ).rows
    assert heard == (
        [] if signals == "none" else [f"pre_{signals}", f"post_{signals}"] * int(calls)
    )
    assert [(row["signal"], row["n"]) for row in rows] == (
        [(f"post_{signals}", int(events))] if int(events) else []
    )


def test_the_table_is_there() -> None:
    assert len(ROWS) == 16
