"""Run a bus for as long as a web application runs.

`lifespan(bus)` is for frameworks with a `lifespan` argument, such as Starlette and FastAPI.
`with_bus(app, bus)` is for any other ASGI application. The format of the messages is that of the
ASGI specification, "Lifespan Protocol", version 2.0.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from edgy_bus.reasons import describe
from edgy_bus.services import Startable

Message = MutableMapping[str, Any]
"""A message or a scope of ASGI: names and values."""

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def lifespan(bus: Startable) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """Return a lifespan for Starlette and FastAPI: `FastAPI(lifespan=lifespan(bus))`.

    The bus starts before the first request, and stops after the last one. An error of the start
    reaches the server, which then does not begin to serve.
    """

    @asynccontextmanager
    async def running(_: object) -> AsyncGenerator[None]:
        async with bus:
            yield

    return running


def with_bus(app: Application, bus: Startable) -> Application:
    """Return `app` with a bus that starts before `app` and stops after `app`.

    A lifespan of the application goes on as before, inside of the bus's. A bus that cannot start is
    reported to the server as `lifespan.startup.failed`. The server has to send lifespan messages:
    uvicorn and hypercorn do by default.
    """

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(app, bus, scope, receive, send)
        else:
            await app(scope, receive, send)

    return application


async def _live(
    app: Application, bus: Startable, scope: Message, receive: Receive, send: Send
) -> None:
    waiting = [await receive()]
    try:
        await bus.start()
    except Exception as error:  # noqa: BLE001 - the server reports it, and ends
        await send({"type": "lifespan.startup.failed", "message": describe(error)})
        return
    answered: set[str] = set()

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    async def answer(message: Message) -> None:
        answered.add(message["type"])
        # The server may end the process when it has this answer.
        if message["type"].startswith("lifespan.shutdown"):
            await bus.stop()
        await send(message)

    try:
        await app(scope, next_message, answer)
    except Exception:
        if answered:
            raise
        # An application without a lifespan refuses the scope: the bus answers in its place.
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await bus.stop()
        await send({"type": "lifespan.shutdown.complete"})
    finally:
        await bus.stop()
