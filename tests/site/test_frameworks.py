"""The programs of the how-to pages that need a web framework answer requests."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import eventually, snippets

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def names_of(page: str, *conditions: str) -> dict[str, Any]:
    """Run the snippets of a page that have one of the conditions; return their names."""
    names: dict[str, Any] = {"__name__": "shop"}
    for snippet in snippets(HOW_TO / f"{page}.md"):
        if snippet.condition in conditions:
            exec(compile(snippet.code, f"docs/how-to/{page}.md", "exec"), names)
    return names


async def test_fastapi_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi", reason="FastAPI is not installed: make docs")
    httpx = pytest.importorskip("httpx", reason="httpx is not installed: make docs")
    monkeypatch.chdir(tmp_path)
    names = names_of("web", "", "with fastapi, by `make docs`")
    app, bus = names["api"], names["bus"]
    events: list[object] = []

    @bus.receiver("shop.Order", "post_save", name="collect", group="test", start="kept")
    async def collect(sender: Any, event: Any, **kwargs: Any) -> None:
        events.append(event)

    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        answer = await client.post("/orders", params={"euros": 30})
        assert (answer.status_code, answer.json()) == (201, {"id": 1})
        answer = await client.post("/orders", params={"euros": 0})
        assert answer.status_code == 400
        async with bus.worker(["test"]):
            await eventually(lambda: events, "the event of the request")
    assert len(events) == 1


def test_flask_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask", reason="Flask is not installed: make docs")
    monkeypatch.chdir(tmp_path)
    outside = "outside of an event loop"
    names = names_of("synchronous", "", outside, "with flask, by `make docs`")
    try:
        answer = names["web"].test_client().post("/orders", json={"euros": 30})
        # The snippets before have made two orders.
        assert (answer.status_code, answer.json) == (201, {"id": 3})
    finally:
        names["portal"].stop()
