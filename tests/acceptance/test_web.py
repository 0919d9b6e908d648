"""The example programs of workers/: from a request over HTTP to the receivers of other services."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from edgy_bus.testing.servers import Source, find_redis
from tests.acceptance.programs import Program, program
from tests.support import eventually

ROOT = Path(__file__).parents[2]
WORKERS = ("billing", "notifications", "search")
ADDRESS = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


class Example:
    """The programs of workers/ as processes, and a person who sends requests and commands.

    The web service runs from the beginning.
    """

    def __init__(self, folder: Path, broker: str, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._file = folder / "example.sqlite"
        self._environment = {
            "PYTHONPATH": str(ROOT),
            "PORT": "0",
            "EDGY_BUS_REDIS_URL": broker,
            "EDGY_BUS_DATABASE_URL": f"sqlite:///{self._file}",
        }
        web = self._start(module="workers.web")
        web.wait_for_output("running on")
        found = ADDRESS.search(web.output)
        assert found, web.output
        self._url = found[1]

    def start_workers(self) -> None:
        self._start(module="workers.relay")
        for name in WORKERS:
            self._start("worker", f"workers.{name}:bus").wait_for_output("worker.started")

    def _start(self, *words: str, module: str = "edgy_bus") -> Program:
        one = program(*words, folder=self._folder, module=module, **self._environment)
        return self._stack.enter_context(one)

    def ask(self, method: str, path: str, data: Any = None, **headers: str) -> tuple[int, Any]:
        """Send a request; return the status and the decoded body."""
        body = None if data is None else json.dumps(data).encode()
        request = Request(f"{self._url}{path}", body, headers, method=method)
        try:
            with urlopen(request, timeout=10) as answer:
                return answer.status, _decoded(answer.read())
        except HTTPError as error:
            return error.code, _decoded(error.read())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query in the database that the services share."""
        with closing(sqlite3.connect(self._file, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def journeys(self, bus: str, model: str, key: object) -> list[Any]:
        """Return what `edgy-bus trace` tells of a row."""
        done = subprocess.run(
            [sys.executable, "-m", "edgy_bus", "trace", bus, model, str(key), "--json"],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return list(json.loads(done.stdout)["data"]["journeys"])


def _decoded(body: bytes) -> Any:
    return json.loads(body) if body else None


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    with find_redis((Source.PATH, Source.WHEEL)) as redis, ExitStack() as stack:
        yield Example(tmp_path, redis.url, stack)


async def test_a_request_reaches_the_receivers_of_three_services(example: Example) -> None:
    example.start_workers()
    status, user = example.ask(
        "POST", "/users", {"name": "Ada", "email": "ADA@example.org"}, **{"X-User": "ann"}
    )
    assert (status, user["email"]) == (201, "ada@example.org")
    assert example.ask("GET", f"/users/{user['id']}") == (200, user)

    await eventually(lambda: len(example.rows("SELECT * FROM mails")) == 2, "two mails")
    mails = example.rows("SELECT user_id, kind FROM mails ORDER BY kind")
    assert mails == [(user["id"], "invoice"), (user["id"], "welcome")]
    await eventually(lambda: example.rows("SELECT * FROM search_entries"), "an entry")
    assert example.rows("SELECT email FROM search_entries") == [("ada@example.org",)]

    # The invoice is known to be an effect of the request of that person.
    (written,) = example.journeys("workers.accounts:bus", "accounts.User", user["id"])
    (billed,) = example.journeys("workers.billing:bus", "billing.Invoice", 1)
    assert written["event"]["context"] == billed["event"]["context"] == {"actor": "ann"}
    assert billed["event"]["causation"] == written["event"]["id"]

    assert example.ask("DELETE", f"/users/{user['id']}") == (204, None)
    assert example.ask("DELETE", f"/users/{user['id']}")[0] == 404
    await eventually(lambda: not example.rows("SELECT * FROM search_entries"), "no entry")


@pytest.mark.parametrize(
    ("data", "status", "why"),
    [
        ({"name": "Eve", "email": "eve@trash.example"}, 409, "nobody reads"),
        ({"name": "Eve", "email": "eve"}, 422, "email"),
        ({"name": "Eve"}, 422, "email"),
        (["Eve"], 400, "no JSON object"),
    ],
)
def test_a_refused_request_writes_nothing(
    example: Example, data: Any, status: int, why: str
) -> None:
    answered, body = example.ask("POST", "/users", data)
    assert answered == status
    assert why in str(body)
    assert example.rows("SELECT * FROM users") == []
    assert example.rows("SELECT * FROM edgy_bus_outbox WHERE signal LIKE 'post_%'") == []
    assert example.ask("GET", "/users/1")[0] == 404
