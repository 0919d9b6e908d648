"""Answer requests: `/metrics`, `/livez`, `/readyz` and `/lag`."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edgy_bus import telemetry
from edgy_bus.errors import EdgyBusError
from edgy_bus.http.exposition import written
from edgy_bus.http.showing import NotYet, Showing
from edgy_bus.observability.metrics import merged
from edgy_bus.operations import GroupStatus
from edgy_bus.reasons import describe, kind_of, trace_of
from edgy_bus.telemetry import catalogue

Answer = Callable[[Request], Awaitable[Response]]

_PERIOD = 60.0
"""Seconds in which a kind of error is reported once for each path."""


def make_app(showing: Showing) -> Starlette:
    """Return the application that shows a program."""
    troubles = _Troubles()

    async def metrics(request: Request) -> Response:
        series = showing.numbers()
        try:
            series = merged([series, await showing.standing()])
        except EdgyBusError as error:
            # During an outage, the numbers of this process matter more than at other times.
            troubles.report("/metrics", error)
        text, media_type = written(series, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})

    async def live(_: Request) -> Response:
        return _health(showing.pulse.complaint(needs_ready=False))

    async def ready(_: Request) -> Response:
        return _health(showing.pulse.complaint(needs_ready=True))

    async def lag(request: Request) -> Response:
        try:
            groups = await showing.lag()
        except EdgyBusError as error:
            troubles.report("/lag", error)
            return JSONResponse({"error": describe(error)}, 503)
        return _lag({group.name: _lag_of(group) for group in groups}, request)

    answers = {"/metrics": metrics, "/livez": live, "/readyz": ready, "/lag": lag}
    # GET only, which answers HEAD as well: nothing here changes anything.
    routes = [
        Route(path, troubles.reported(path, answer), methods=["GET"])
        for path, answer in answers.items()
    ]
    return Starlette(routes=routes)


def _health(complaint: str | None) -> Response:
    return PlainTextResponse(f"{complaint or 'ok'}\n", 200 if complaint is None else 503)


def _lag(groups: dict[str, dict[str, Any]], request: Request) -> Response:
    name = request.query_params.get("group")
    if name is None:
        return JSONResponse({"groups": groups})
    if name not in groups:
        # Not a lag of 0: a misspelt name would keep a group at zero workers for ever.
        error = f"no stream has been read by a group {name!r}: start a worker of the group once"
        return JSONResponse({"error": error}, 404)
    return JSONResponse({"group": name, **groups[name]})


def _lag_of(group: GroupStatus) -> dict[str, Any]:
    # A broker that cannot count has unread events all the same, and a worker is needed.
    lag = group.lag if group.counted else max(1, group.lag)
    return {
        "lag": lag,
        "seconds": group.seconds,
        "counted": group.counted,
        "workers": len(group.workers),
    }


class _Troubles:
    """Report the errors of answers."""

    def __init__(self) -> None:
        self._reported: dict[tuple[str, str], float] = {}

    def reported(self, path: str, answer: Answer) -> Answer:
        """Return an answer whose errors are reported, and end in status 500."""

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except Exception as error:  # noqa: BLE001 - no request ends the server
                self.report(path, error, trace_of(error))
                return PlainTextResponse("this request failed; the log has the reason\n", 500)

        return answered

    def report(self, path: str, error: Exception, trace: str = "") -> None:
        """Report an error of a path, unless the same was reported lately."""
        # A program that starts, or whose blocked loop is reported already.
        if isinstance(error, NotYet):
            return
        # Probes and scrapes repeat their requests every few seconds.
        now, key = time.monotonic(), (path, kind_of(error))
        if now < self._reported.get(key, 0.0):
            return
        self._reported[key] = now + _PERIOD
        telemetry.emit(catalogue.HttpFailed(path=path, error=describe(error), trace=trace))
