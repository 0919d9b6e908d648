"""The applications of the page about web services answer requests; workers get their events."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import edgy_bus as edgy
from tests.support import eventually, snippets

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "web.md"


async def request(app: Any, body: bytes = b"", path: str = "/orders") -> tuple[int, bytes]:
    """Send a POST to an ASGI application; return status and body."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"euros=30",
        "root_path": "",
        "headers": [(b"x-user", b"ada"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], answer


class Served:
    """Runs the lifespan of an application beside requests, as a server does."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._messages: asyncio.Queue[str] = asyncio.Queue()
        self._answers: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._live())
        await self._exchange("lifespan.startup")

    async def __aexit__(self, *error: object) -> None:
        await self._exchange("lifespan.shutdown")
        await self._task

    async def _exchange(self, message: str) -> None:
        self._messages.put_nowait(message)
        assert await asyncio.wait_for(self._answers.get(), 20) == f"{message}.complete"

    async def _live(self) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": await self._messages.get()}

        async def send(message: dict[str, Any]) -> None:
            self._answers.put_nowait(message["type"])

        await self._app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the page; return its names, with every application that it makes."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "shop"}
    applications = []
    for snippet in snippets(PAGE):
        if not snippet.condition:
            exec(compile(snippet.code, "docs/how-to/web.md", "exec"), names)
            applications.append(names.get("app"))
    names["applications"] = [app for app in applications if app is not None]
    return names


@pytest.mark.parametrize("number", range(3), ids=["lifespan", "own lifespan", "plain"])
async def test_an_application_of_the_page_publishes(page: dict[str, Any], number: int) -> None:
    app = page["applications"][number]
    contexts: list[dict[str, Any]] = []

    @page["bus"].receiver("shop.Order", "post_save", name="collect", group="test", start="kept")
    async def collect(sender: Any, event: edgy.Event, **kwargs: Any) -> None:
        contexts.append(dict(event.context or {}))

    async with Served(app):
        status, body = await request(app, json.dumps({"euros": 30}).encode())
        assert (status, body) == (201, b'{"id":1}' if number < 2 else b"1")
        async with page["bus"].worker(["test"]):
            await eventually(lambda: contexts, "the event of the request")
    assert contexts[0] == ({"actor": "ada"} if number < 2 else {})


async def test_a_refused_operation_is_an_answer(page: dict[str, Any]) -> None:
    app = page["applications"][0]
    async with Served(app):
        status, body = await request(app, b'{"euros": 0}')
    assert status == 400
    assert b"an order costs something" in body
