"""The checks of every request: host, origin, token. The headers of every answer."""

import hmac
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # With `no-referrer`, browsers write `Origin: null` into forms of this very site.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

CHALLENGE: Mapping[str, str] = {"www-authenticate": 'Basic realm="edgy_bus", charset="UTF-8"'}
"""Lets browsers ask for a name and a secret."""

_SAFE = frozenset({"GET", "HEAD"})


class Guard:
    """Refuse requests of other sites, and put the headers of a careful page on every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                # Pages show keys of rows: no cache of a proxy or a shared machine keeps them.
                headers.setdefault("cache-control", "no-store")
            await send(message)

        # No lifespan and no WebSocket, which have no answer of their own here.
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        if complaint := refusal(scope["method"], headers, self._hosts):
            await PlainTextResponse(f"{complaint}\n", 403)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


def refusal(method: str, headers: Mapping[str, str], hosts: frozenset[str]) -> str:
    """Return why a request is refused; empty if the request is answered.

    Args:
        method: the method, in capitals.
        headers: the headers, by names in lower case.
        hosts: the names under which the dashboard answers.
    """
    host = headers.get("host", "")
    # A page of a stranger can let its own name point to this machine.
    if name_in(host) not in hosts:
        return "the dashboard does not answer under this name: see --allow-host"
    if method in _SAFE:
        return ""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None:
        return "this browser does not say which page the form is from"
    if site not in (None, "same-origin"):
        return "the form is from another site"
    # The scheme is left out: a proxy in front may have ended HTTPS.
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "the form is from another site"
    return ""


def name_in(host: str) -> str:
    """Return the name in a `Host` header, without the port; empty for another text."""
    # Python refuses brackets that do not match.
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def credentials(header: str) -> tuple[str, str] | None:
    """Return name and secret of an `Authorization` header; None without a readable Basic header."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (name, secret) if colon else None


def is_token(sent: object, token: str) -> bool:
    """Return whether a form has the token of its session."""
    return isinstance(sent, str) and hmac.compare_digest(sent.encode(), token.encode())
