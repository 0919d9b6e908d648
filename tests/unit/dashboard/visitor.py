"""A browser as far as the dashboard needs one: cookies, redirects, forms of a page."""

import html
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp

HOST = "localhost:8421"


@dataclass
class Answer:
    """An answer of the application."""

    status: int
    headers: dict[str, str]
    text: str


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))


def tags(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the elements of a page, as a browser reads them."""
    parser = _Tags()
    parser.feed(text)
    return parser.tags


def forms(text: str) -> list[tuple[str, dict[str, str]]]:
    """Return the address and the hidden fields of every form of a page."""
    found: list[tuple[str, dict[str, str]]] = []
    for tag, attributes in tags(text):
        if tag == "form":
            found.append((attributes.get("action", ""), {}))
        elif tag == "input" and attributes.get("type") == "hidden" and found:
            found[-1][1][attributes["name"]] = attributes.get("value", "")
    return found


def words(text: str) -> str:
    """Return the text of a page."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)))


@dataclass
class Visitor:
    """A person with a browser."""

    app: ASGIApp
    cookies: dict[str, str] = field(default_factory=dict)
    address: str = "192.0.2.1"

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, b"", headers)

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        given = {"origin": f"http://{HOST}", "sec_fetch_site": "same-origin", **headers}
        return await self.ask("POST", path, urlencode(fields).encode(), given)

    async def submit(self, page: str, action: str, **fields: str) -> Answer:
        """Send the first form of a page that goes to an address, and follow the redirect."""
        hidden = next(fields for path, fields in forms(page) if path == action)
        answer = await self.post(action, {**hidden, **fields})
        if answer.status == 303:
            return await self.get(answer.headers["location"])
        return answer

    async def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        path, _, query = path.partition("?")
        given = {"host": HOST, **{name.replace("_", "-"): each for name, each in headers.items()}}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={each}" for name, each in self.cookies.items())
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "client": (self.address, 50_000),
            "query_string": query.encode(),
            # A header of several lines stands there several times.
            "headers": [
                (name.encode(), line.encode())
                for name, each in given.items()
                for line in each.splitlines()
            ],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self._keep(answered.get("set-cookie", ""))
        text = b"".join(each.get("body", b"") for each in sent[1:]).decode()
        return Answer(sent[0]["status"], answered, text)

    def _keep(self, cookie: str) -> None:
        if cookie:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
