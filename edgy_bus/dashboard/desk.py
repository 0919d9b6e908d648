"""The common part of every page: session, form, answer and errors of a request."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from edgy_bus import telemetry
from edgy_bus.dashboard.access import Access, Role, User
from edgy_bus.dashboard.guard import CHALLENGE, credentials, is_token
from edgy_bus.dashboard.guesses import Guesses, client_of
from edgy_bus.dashboard.pages import SECTIONS, Pages
from edgy_bus.dashboard.reach import Reach
from edgy_bus.dashboard.sessions import LIFETIME, Session, Sessions
from edgy_bus.dashboard.words import link
from edgy_bus.errors import (
    BrokerError,
    ConfigurationError,
    DatabaseError,
    EdgyBusError,
)
from edgy_bus.reasons import describe, trace_of
from edgy_bus.telemetry import catalogue

COOKIE = "edgy_bus_dashboard"

MOST_BYTES = 1_000_000
"""Bytes of a form."""

MOST_FIELDS = 2_000

NO_USER = "No user has this name and this secret."


@dataclass(slots=True)
class Visit:
    """A request with a session."""

    request: Request
    session: Session
    fields: dict[str, list[str]] = field(default_factory=dict)
    """The form of an action."""
    fresh: str = ""
    """The id of a session that begins with this request."""

    def asked(self, name: str) -> str | None:
        """Return a value of the address; None if the value is empty."""
        return self.request.query_params.get(name) or None

    def sent(self, name: str) -> str:
        """Return a value of the form; empty if the form has no such field."""
        return self.fields.get(name, [""])[0]


NO_HEADERS: Mapping[str, str] = {}

Look = Callable[[Visit], Awaitable[Response]]

Answer = Callable[[Request], Awaitable[Response]]

Stranger = Callable[[Request], Response]
"""Answers a request without a session."""


class Refusal(Exception):
    """A request that is not carried out: the status and the headers of the answer, and why."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


class Desk:
    """The dashboard of one process: its protection, its sessions, its pages, its connections."""

    def __init__(
        self, access: Access, sessions: Sessions, reach: Reach, guesses: Guesses | None = None
    ) -> None:
        self.access = access
        self.guesses = guesses or Guesses()
        self.sessions = sessions
        self.reach = reach
        self.pages = Pages()

    # Requests

    def look(self, view: Look, least: Role = Role.VIEWER) -> Answer:
        """Return the answer to requests for a page."""

        def stranger(request: Request) -> Response:
            if self.access.asks_basic:
                text = "Give the name and the secret of a user of this dashboard."
                return self.error(None, 401, "Not signed in", text, headers=CHALLENGE)
            there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(link("/sign-in", next=there), 303)

        return self._answer(view, least, stranger)

    def act(self, action: Look, least: Role = Role.OPERATOR) -> Answer:
        """Return the answer to the forms of an action."""

        async def checked(visit: Visit) -> Response:
            # The token first: a form of another session must not learn more than that.
            visit.fields = await read_form(visit.request)
            if not is_token(visit.sent("token"), visit.session.token):
                raise Refusal(403, "This form is from an earlier session. Open the page again.")
            if self.access.read_only:
                raise Refusal(403, "This dashboard is read-only: it was started with --read-only.")
            return await action(visit)

        def stranger(request: Request) -> Response:
            del request
            text = "Your session has ended, and nothing was done. Sign in, and try again."
            return self.error(None, 401, "Session ended", text)

        return self._answer(checked, least, stranger)

    def user(self, request: Request, name: str, secret: str) -> User | None:
        """Return the user of a name and a secret; None for a wrong guess, which is counted.

        Raises `Refusal` while the address of the request has to wait.
        """
        peer = "" if request.client is None else request.client.host
        # Some proxies add a line of their own behind the lines of the client.
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        address = client_of(peer, forwarded, behind_proxy=self.access.behind_proxy)
        # Also a right secret waits: otherwise the pause would slow down wrong guesses alone.
        if pause := self.guesses.pause(address):
            text = f"There were too many wrong secrets from your address. Wait {pause} seconds."
            raise Refusal(429, text, {"retry-after": str(pause)})
        user = self.access.user(name, secret)
        if user is None:
            self.guesses.wrong(address)
        return user

    def _answer(self, view: Look, least: Role, stranger: Stranger) -> Answer:
        async def answer(request: Request) -> Response:
            try:
                visit = self._visit(request)
            except Refusal as refusal:
                return self.refused(refusal)
            if visit is None:
                return stranger(request)
            return self._kept(visit, await self._checked(visit, view, least))

        return answer

    def _visit(self, request: Request) -> Visit | None:
        session = self.sessions.get(request.cookies.get(COOKIE))
        if session is not None:
            return Visit(request, session)
        if not self.access.users:
            session_id, session = self.sessions.open(self.access.operator, self.access.role)
            return Visit(request, session, fresh=session_id)
        given = credentials(request.headers.get("authorization", ""))
        if given is None:
            return None
        user = self.user(request, *given)
        if user is None:
            raise Refusal(401, NO_USER, CHALLENGE)
        session_id, session = self.sessions.shared(user.name, user.role)
        # A browser goes on with the cookie, also while others guess behind the same address.
        return Visit(request, session, fresh=session_id)

    async def _checked(self, visit: Visit, view: Look, least: Role) -> Response:
        try:
            if visit.session.role < least:
                text = f"This needs the role {least.word}; you are {visit.session.role.word}."
                raise Refusal(403, text)
            return await view(visit)
        except Refusal as refusal:
            return self.error(visit, refusal.status, "Not done", str(refusal))
        except ConfigurationError as error:
            return self.error(visit, 400, "That does not work", str(error))
        except (BrokerError, DatabaseError) as error:
            return self._unreachable(visit, error)
        except Exception as error:  # noqa: BLE001 - no request ends the dashboard
            notice = catalogue.HttpFailed(
                path=visit.request.url.path, error=describe(error), trace=trace_of(error)
            )
            telemetry.emit(notice)
            text = "This page failed, through no fault of yours. The log of the dashboard says why."
            return self.error(visit, 500, "This page failed", text)

    def _unreachable(self, visit: Visit, error: EdgyBusError) -> Response:
        # The texts of these errors name a server and a reason, and no password.
        advice = (
            "Nothing of your programs is changed by this. Check that the server runs, that this "
            "machine reaches it, and that the dashboard's user has the rights of docs/security.md. "
            "The page tries again by itself."
        )
        return self.error(visit, 503, "Out of reach", describe(error), advice)

    # Answers

    def show(self, visit: Visit, name: str, code: int = 200, **values: Any) -> Response:
        """Answer with a page."""
        session = visit.session
        can_act = session.role >= Role.OPERATOR and not self.access.read_only
        text = self.pages.page(
            name,
            here=visit.request.url.path,
            section=SECTIONS.get(visit.request.url.path, visit.request.url.path),
            session=session,
            notices=session.said(),
            can_act=can_act,
            can_discard=can_act and session.role >= Role.ADMIN,
            can_read=session.role >= Role.ADMIN,
            read_only=self.access.read_only,
            signs_in=bool(self.access.users),
            **values,
        )
        return HTMLResponse(text, code)

    def error(
        self,
        visit: Visit | None,
        status: int,
        title: str,
        text: str,
        advice: str = "",
        *,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Response:
        """Answer with a page about an error."""
        values = {"title": title, "text": text, "advice": advice}
        if visit is None:
            return HTMLResponse(self.pages.page("plain", **values), status, dict(headers))
        return self.show(visit, "error", status, **values)

    def refused(self, refusal: Refusal) -> Response:
        """Answer a person who is not signed in, and is not let in."""
        headers = refusal.headers
        return self.error(None, refusal.status, "Not signed in", str(refusal), headers=headers)

    def done(self, visit: Visit, text: str, back: str, kind: str = "good") -> Response:
        """Answer an action; the next page shows the result."""
        visit.session.say(text, kind)
        # After a redirect, a page that is loaded again repeats no action.
        return RedirectResponse(back, 303)

    def _kept(self, visit: Visit, response: Response) -> Response:
        # Also with a page of an error, whose forms and links belong to the session.
        if visit.fresh:
            self.keep(response, visit.fresh)
        return response

    def keep(self, response: Response, session_id: str) -> None:
        """Let the browser keep a session."""
        response.set_cookie(
            COOKIE,
            session_id,
            max_age=int(LIFETIME),
            httponly=True,
            samesite="strict",
            secure=self.access.is_https,
        )


async def read_form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a form. Raises `Refusal` for other requests."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refusal(413, "The form is too long.")
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(body.decode(), True, max_num_fields=MOST_FIELDS):
            fields.setdefault(name, []).append(value)
    except ValueError as error:
        raise Refusal(400, "This is no form of the dashboard.") from error
    return fields


def back_to(path: str) -> str:
    """Return a path of the dashboard to go to; the overview in place of any other address."""
    # `//host` and `/\host` are addresses of other sites.
    is_own = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_own and path.isprintable() else "/"
