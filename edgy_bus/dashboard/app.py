"""The addresses of the dashboard."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edgy_bus.dashboard.access import Access, Role
from edgy_bus.dashboard.acts import Acts
from edgy_bus.dashboard.desk import COOKIE, NO_USER, Desk, Refusal, back_to, read_form
from edgy_bus.dashboard.guard import Guard
from edgy_bus.dashboard.guesses import Guesses
from edgy_bus.dashboard.looks import Looks
from edgy_bus.dashboard.pages import STATIC
from edgy_bus.dashboard.reach import Reach
from edgy_bus.dashboard.sessions import Sessions


def make_app(
    access: Access,
    reach: Reach,
    sessions: Sessions | None = None,
    guesses: Guesses | None = None,
) -> ASGIApp:
    """Return the application.

    Args:
        access: the users and the protection.
        reach: the broker and the databases.
        sessions: the sessions; by default, no session is open.
        guesses: the wrong secrets so far; by default, none.
    """
    desk = Desk(access, sessions or Sessions(), reach, guesses)
    app = Starlette(
        routes=[*_looks(desk), *_acts(desk), *_entrance(desk)],
        exception_handlers={404: _missing(desk), 405: _missing(desk)},
    )
    # Outside of everything: also an error of Starlette has the headers.
    return Guard(app, access.hosts)


def _looks(desk: Desk) -> list[Route]:
    looks = Looks(desk)
    pages = {
        "/": looks.overview,
        "/group": looks.group,
        "/receivers": looks.receivers,
        "/workers": looks.workers,
        "/dead": looks.dead,
        "/letters": looks.letters,
        "/letter": looks.letter,
        "/confirm": looks.confirm,
        "/held": looks.held,
        "/outboxes": looks.outboxes,
        "/replays": looks.replays,
        "/events": looks.events,
        "/event": looks.event,
        "/row": looks.row,
        "/doctor": looks.doctor,
        "/actions": looks.actions,
    }
    return [Route(path, desk.look(view), methods=["GET"]) for path, view in pages.items()]


def _acts(desk: Desk) -> list[Route]:
    acts = Acts(desk)
    actions = {
        "/pause": (acts.pause, Role.OPERATOR),
        "/resume": (acts.resume, Role.OPERATOR),
        "/release": (acts.release, Role.OPERATOR),
        "/dead/replay": (acts.replay, Role.OPERATOR),
        # Nothing brings a discarded letter back.
        "/dead/discard": (acts.discard, Role.ADMIN),
    }
    return [
        Route(path, desk.act(action, least), methods=["POST"])
        for path, (action, least) in actions.items()
    ]


def _entrance(desk: Desk) -> list[Route]:
    async def ask(request: Request) -> Response:
        if not desk.access.users:
            return RedirectResponse("/", 303)
        # An address of another site would turn a real sign-in into a trap.
        there = back_to(request.query_params.get("next", "/"))
        return HTMLResponse(desk.pages.page("sign_in", next=there, failed=""))

    async def sign_in(request: Request) -> Response:
        try:
            fields = await read_form(request)
        except Refusal as refusal:
            return desk.refused(refusal)
        name, secret, there = (fields.get(each, [""])[0] for each in ("name", "secret", "next"))
        try:
            user = desk.user(request, name.strip(), secret)
        except Refusal as refusal:
            text = desk.pages.page("sign_in", next=back_to(there), failed=str(refusal))
            return HTMLResponse(text, refusal.status, dict(refusal.headers))
        if user is None:
            text = desk.pages.page("sign_in", next=back_to(there), failed=NO_USER)
            return HTMLResponse(text, 401)
        desk.sessions.close(request.cookies.get(COOKIE))
        session_id, _ = desk.sessions.open(user.name, user.role)
        response = RedirectResponse(back_to(there), 303)
        desk.keep(response, session_id)
        return response

    async def sign_out(request: Request) -> Response:
        # Without a token: the request is from this site, and ends only the session of its cookie.
        desk.sessions.close(request.cookies.get(COOKIE))
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(COOKIE)
        return response

    # A fixed list of names: no path of the request reaches a file system.
    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in desk.pages.files:
            return desk.error(None, 404, "No such page", "The dashboard has no such file.")
        headers = {"cache-control": "no-cache", "content-type": STATIC[name]}
        return Response(desk.pages.files[name], headers=headers)

    return [
        Route("/sign-in", ask, methods=["GET"]),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
        Route("/static/{name}", file, methods=["GET"]),
    ]


def _missing(desk: Desk) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        del request, error
        return desk.error(None, 404, "No such page", "The dashboard has no page at this address.")

    return answer
