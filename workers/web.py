"""Serve the users of `accounts` over HTTP: a request writes a user, and other services receive it.

Run it with `uvicorn workers.web:app`, or as a program, which takes PORT (8000 by default):

    curl localhost:8000/users -H 'X-User: ann' -d '{"name": "Ada", "email": "ada@example.org"}'
    edgy-bus trace workers.accounts:bus accounts.User 1
"""

import os
from json import JSONDecodeError

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgy_bus.integrations.asgi import lifespan
from workers.accounts import RefusedAddress, User, bus


async def create_user(request: Request) -> Response:
    """Write a user. The event names the person that the request came from."""
    try:
        values = dict(await request.json())
    except (JSONDecodeError, TypeError, ValueError):
        return JSONResponse({"error": "the body is no JSON object"}, status_code=400)
    with bus.context(actor=request.headers.get("x-user", "a guest")):
        try:
            user = await User.query.create(name=values.get("name"), email=values.get("email"))
        except RefusedAddress as refusal:
            return JSONResponse({"error": str(refusal)}, status_code=409)
        except ValidationError as error:
            wrong = [
                {"field": ".".join(map(str, one["loc"])), "why": one["msg"]}
                for one in error.errors()
            ]
            return JSONResponse({"error": wrong}, status_code=422)
    return JSONResponse(user.model_dump(), status_code=201)


async def read_user(request: Request) -> Response:
    """Return a user."""
    user = await User.query.first(id=request.path_params["id"])
    if user is None:
        return JSONResponse({"error": "there is no such user"}, status_code=404)
    return JSONResponse(user.model_dump())


async def delete_user(request: Request) -> Response:
    """Delete a user. Other services receive the row as it was."""
    with bus.context(actor=request.headers.get("x-user", "a guest")):
        deleted = await User.query.filter(id=request.path_params["id"]).delete()
    return Response(status_code=204 if deleted else 404)


async def healthy(request: Request) -> Response:
    """Answer while the process serves."""
    return Response(status_code=204)


app = Starlette(
    routes=[
        Route("/users", create_user, methods=["POST"]),
        Route("/users/{id:int}", read_user),
        Route("/users/{id:int}", delete_user, methods=["DELETE"]),
        Route("/healthy", healthy),
    ],
    lifespan=lifespan(bus),
)

if __name__ == "__main__":
    uvicorn.run(
        app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000"))
    )
