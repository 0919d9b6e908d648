"""The answers of the server, without a server."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from edgy_bus import telemetry
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.database import Database
from edgy_bus.errors import BrokerUnavailable, DatabaseUnavailable
from edgy_bus.health import HEALTH_AGE, Pulse
from edgy_bus.http import showing as showings
from edgy_bus.http.app import make_app
from edgy_bus.http.showing import Showing
from edgy_bus.operations import Parts
from edgy_bus.telemetry import Distribution, measurements
from tests.support import PARTITION, Told, event, publish

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Page:
    """Ask an application as a server does, in a thread with a loop of its own."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def get(self, path: str, accept: str = "*/*", method: str = "GET") -> tuple[int, str]:
        return await asyncio.to_thread(lambda: asyncio.run(self._get(path, accept, method)))

    async def _get(self, path: str, accept: str, method: str) -> tuple[int, str]:
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"accept", accept.encode())],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:]).decode()


@pytest.fixture
async def showing() -> AsyncIterator[Showing]:
    showing = Showing(Pulse(), groups=True)
    yield showing
    showing.close()


@pytest.fixture
def told() -> Iterator[Told]:
    with Told() as told:
        yield told


@pytest.fixture
def page(showing: Showing) -> Page:
    return Page(make_app(showing))


async def backlog() -> MemoryBroker:
    """A stream with two events, of which the group mail has read one."""
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    lease = await broker.acquire(PARTITION, "mail", "w.1", 60)
    assert lease is not None
    await broker.fetch(lease, 1, inherit=False)
    return broker


async def test_health_is_the_decision_of_the_probe(
    showing: Showing, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await page.get("/livez") == (200, "ok\n")
    status, text = await page.get("/readyz")
    assert (status, text) == (
        503,
        "the program is not ready: it has not worked yet since its start\n",
    )
    showing.pulse.beat(is_ready=True)
    showing.pulse.beat()  # readiness lasts
    assert await page.get("/readyz") == (200, "ok\n")
    monkeypatch.setattr(showing.pulse, "_last", showing.pulse._last - HEALTH_AGE - 1)
    for path in ("/livez", "/readyz"):
        status, text = await page.get(path)
        assert status == 503
        assert "has made no progress for 31 s, more than 30" in text


async def test_lag_is_that_of_each_group(showing: Showing, page: Page) -> None:
    status, text = await page.get("/lag")
    assert status == 503
    assert "has not started yet" in json.loads(text)["error"]
    async with AsyncExitStack() as stack:
        showing.attach(Parts(await backlog(), "accounts"), stack)
        status, text = await page.get("/lag")
        assert status == 200
        group = json.loads(text)["groups"]["mail"]
        assert (group["lag"], group["counted"], group["workers"]) == (2, True, 0)
        status, text = await page.get("/lag?group=mail")
        assert json.loads(text) == {"group": "mail", **group}
        status, text = await page.get("/lag?group=other")
        assert status == 404
        assert "start a worker of the group once" in json.loads(text)["error"]
    # The connections are closed: no view opens them again.
    assert showing.parts is None


async def test_a_broker_that_does_not_answer_leaves_the_other_metrics(
    showing: Showing, page: Page, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    broker = await backlog()

    async def fails() -> None:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(broker, "declared", fails)
    async with AsyncExitStack() as stack:
        showing.attach(Parts(broker, "accounts"), stack)
        for _ in range(2):
            status, text = await page.get("/metrics")
            assert status == 200
            assert "edgy_bus_progress_age_seconds" in text
            assert "edgy_bus_group_lag_events" not in text
            status, text = await page.get("/lag")
            assert (status, json.loads(text)) == (503, {"error": "BrokerUnavailable: away"})
    # Once for each path, though scrapes go on.
    assert [fields["path"] for fields in told.of("http.failed")] == ["/metrics", "/lag"]


class Outbox:
    """The outbox of a database; two registries of one database have two such objects."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.database = SimpleNamespace(url=Database("postgresql://user:hunter2@db/accounts").url)
        self._is_away = is_away

    async def count_pending(self) -> int:
        if self._is_away:
            raise DatabaseUnavailable("away")
        return 3

    async def oldest_pending(self) -> float:
        return 1.5


async def test_an_outbox_is_shown_once_and_without_its_password(
    showing: Showing, page: Page
) -> None:
    outboxes: list[Any] = [Outbox(), Outbox()]
    async with AsyncExitStack() as stack:
        showing.attach(Parts(await backlog(), "accounts", outboxes), stack)
        _, text = await page.get("/metrics")
    label = 'database="postgresql://db/accounts"'
    assert f"edgy_bus_outbox_pending_events{{{label}}} 3.0" in text
    assert f"edgy_bus_outbox_oldest_seconds{{{label}}} 1.5" in text
    assert "hunter2" not in text


async def test_groups_are_shown_while_a_database_is_away(showing: Showing, page: Page) -> None:
    outboxes: list[Any] = [Outbox(is_away=True)]
    async with AsyncExitStack() as stack:
        showing.attach(Parts(await backlog(), "accounts", outboxes), stack)
        _, text = await page.get("/metrics")
        assert 'edgy_bus_group_lag_events{group="mail"} 2.0' in text
        assert "edgy_bus_outbox_pending_events{" not in text
        assert (await page.get("/lag"))[0] == 200


async def test_many_requests_are_one_look(showing: Showing, page: Page) -> None:
    broker, looks = await backlog(), []
    declared = broker.declared

    async def counted() -> Any:
        looks.append(1)
        return await declared()

    broker.declared = counted  # type: ignore[method-assign]
    async with AsyncExitStack() as stack:
        showing.attach(Parts(broker, "accounts"), stack)
        answers = await asyncio.gather(*(page.get("/lag") for _ in range(5)))
    assert {status for status, _ in answers} == {200}
    assert len(looks) == 1


async def test_an_error_of_an_answer_is_reported_and_ends_nothing(
    showing: Showing, page: Page, told: Told
) -> None:
    def fails() -> Any:
        raise RuntimeError("no such number")

    showing.states = fails
    status, text = await page.get("/metrics")
    assert status == 500
    assert "no such number" not in text
    assert told.names() == ["http.failed"]
    showing.states = tuple
    assert (await page.get("/metrics"))[0] == 200


async def test_a_loop_that_is_blocked_leaves_the_other_metrics(
    showing: Showing, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showings, "PATIENCE", 0.05)
    broker = await backlog()

    async def stands() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(broker, "declared", stands)
    async with AsyncExitStack() as stack:
        showing.attach(Parts(broker, "accounts"), stack)
        assert "edgy_bus_ready 0.0" in (await page.get("/metrics"))[1]
        assert "did not answer within 0.05 s" in (await page.get("/lag"))[1]


async def test_metrics_follow_the_conventions_of_both_formats(showing: Showing, page: Page) -> None:
    times = Distribution((3, 1) + (0,) * 13, 2.5)
    telemetry.measure(
        [
            measurements.EventsHandled(group="mail", receiver='s"e\\nd', count=4),
            measurements.CallsEnded(group="mail", receiver="send", times=times),
        ]
    )
    _, text = await page.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    handled = families["edgy_bus_receiver_handled_events"]
    assert (handled.type, handled.documentation) == (
        "counter",
        "Events that a receiver has handled.",
    )
    (sample,) = handled.samples
    assert (sample.labels, sample.value) == ({"group": "mail", "receiver": 's"e\\nd'}, 4)
    duration = families["edgy_bus_receiver_duration_seconds"]
    assert duration.type == "histogram"
    values = {(s.name, s.labels.get("le")): s.value for s in duration.samples}
    name = "edgy_bus_receiver_duration_seconds"
    assert values[f"{name}_bucket", "0.0001"] == 3
    assert values[f"{name}_bucket", "0.0005"] == values[f"{name}_bucket", "+Inf"] == 4
    assert (values[f"{name}_count", None], values[f"{name}_sum", None]) == (4, 2.5)
    assert "process_cpu_seconds" in families
    _, text = await page.get("/metrics", OPENMETRICS)
    assert text.endswith("# EOF\n")


async def test_only_reading_is_allowed(page: Page) -> None:
    assert (await page.get("/metrics", method="POST"))[0] == 405
    assert (await page.get("/"))[0] == 404
