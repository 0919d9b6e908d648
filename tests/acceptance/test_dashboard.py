"""`edgy-bus dashboard` as a process: with Redis, at the size of a large system, over HTTP."""

import re
import socket
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.base import DeadLetter, EntryId
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.brokers.redis.encoding import letter_arguments
from edgy_bus.codec import pack
from edgy_bus.operations import actions
from tests.acceptance.conftest import Shop
from tests.acceptance.programs import Program, program
from tests.support import PARTITION, bury, event, eventually
from tests.unit.dashboard.visitor import forms

MODELS, LETTERS = 200, 10_000

USER = "anna:admin:a-secret-of-16-characters"


@pytest.fixture
async def broker(redis_url: str, prefix: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis_url, prefix)
    yield broker
    await broker.close()


def address_of(dashboard: Program) -> str:
    dashboard.wait_for_output("the dashboard is at")
    found = re.search(r"http://\S+", dashboard.output)
    assert found is not None
    return found[0]


def read(address: str, path: str) -> str:
    with urllib.request.urlopen(f"{address}{path}", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def begin_replay(address: str) -> None:
    """Send the form that replays all letters, and go away without the answer."""
    with urllib.request.urlopen(f"{address}/confirm?action=replay&which=all") as answer:
        cookie = answer.headers["set-cookie"].partition(";")[0]
        (_, fields), *_ = [each for each in forms(answer.read().decode()) if "choice" in each[1]]
    body = urlencode(fields)
    host = address.removeprefix("http://")
    lines = [
        "POST /dead/replay HTTP/1.1",
        f"host: {host}",
        f"origin: {address}",
        f"cookie: {cookie}",
        f"content-length: {len(body)}",
    ]
    with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as connection:
        connection.sendall("\r\n".join([*lines, "", body]).encode())


async def is_replayed(broker: RedisBroker) -> bool:
    log = (await actions(broker, 1)).actions
    return bool(log) and log[0].result == f"replayed {LETTERS} of {LETTERS}"


async def test_200_models_and_10_000_letters_are_shown_in_pages(
    broker: RedisBroker, redis_url: str, prefix: str, tmp_path: Path
) -> None:
    for number in range(MODELS):
        await broker.declare(f"accounts.Model{number}", 8)
    # One real letter, which the group knows, and the others written at once beside it.
    await bury(broker, event("0", 1))
    wire = pack(event("1", 1))
    fields = {b"id": wire.id.encode(), b"head": wire.header, b"data": wire.data}
    key = broker.keys.dead(PARTITION, "mail")
    async with Redis.from_url(redis_url) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(1, LETTERS):
            letter = DeadLetter(EntryId(number, 0), "app.mail", f"HTTPError: {number}", 1, fields)
            flat = letter_arguments(letter)
            pipeline.xadd(key, dict(zip(flat[::2], flat[1::2], strict=True)))  # type: ignore[arg-type]
        await pipeline.execute()
    options = ("--broker", redis_url, "--prefix", prefix, "--http", "0")
    with program("dashboard", *options, folder=tmp_path) as dashboard:
        address = address_of(dashboard)
        assert "everyone on this machine is operator" in dashboard.output
        began = time.monotonic()
        assert "10,000" in read(address, "/")
        first, last = read(address, "/letters"), read(address, "/letters?page=200")
        assert "Letters 1 to 50" in first
        assert "Letters 9,951 to 10,000" in last
        assert 'rel="next"' in first
        assert 'rel="next"' not in last
        assert "Replay 10,000 dead letters?" in read(address, "/confirm?action=replay&which=all")
        # Generous: a page that read every letter one by one would take minutes.
        assert time.monotonic() - began < 30
        # A browser that gives up in the middle of an action, which goes on.
        begin_replay(address)
        await eventually(lambda: is_replayed(broker), "every letter is replayed")
        assert dashboard.terminate() == 0, dashboard.output


async def test_a_bus_is_shown_with_its_outboxes(shop: Shop) -> None:
    with shop.program("dashboard", "shop:bus", "--http", "0") as dashboard:
        address = address_of(dashboard)
        assert "no database is known here" not in read(address, "/")
        text = read(address, "/outboxes")
        assert "No outbox is known here" not in text
        assert shop.environment["SHOP_DATABASE"].partition(":")[0] in text
        assert "answers" in text
        assert "No replay and no backfill is unfinished" in read(address, "/replays")
        assert dashboard.terminate() == 0, dashboard.output


def test_a_broker_that_is_away_is_a_page_with_advice(tmp_path: Path) -> None:
    with socket.socket() as taken:
        # Bound, and not listening: connections are refused, and no other program gets the port.
        taken.bind(("127.0.0.1", 0))
        url = f"redis://:hidden-password@127.0.0.1:{taken.getsockname()[1]}"
        options = ("dashboard", "--http", "0")
        with program(*options, folder=tmp_path, EDGY_BUS_BROKER=url) as dashboard:
            with pytest.raises(urllib.error.HTTPError) as refused:
                read(address_of(dashboard), "/")
            text = refused.value.read().decode()
            assert refused.value.code == 503
            assert "Check that the server runs" in text
            assert "Traceback" not in text + dashboard.output
            assert "hidden-password" not in text + dashboard.output


@pytest.mark.parametrize(
    ("options", "environment", "complaint"),
    [
        (("--http", "0.0.0.0:0"), {}, "EDGY_BUS_DASHBOARD_USERS"),
        (("--allow-host", "bus.example"), {}, "EDGY_BUS_DASHBOARD_USERS"),
        (("--http", "0.0.0.0:0"), {"EDGY_BUS_DASHBOARD_USERS": USER}, "--allow-host"),
        ((), {"EDGY_BUS_DASHBOARD_USERS": "a:admin:short"}, "16 characters"),
        (("--users", "empty"), {}, "names no user"),
        (("--users", "missing"), {}, "cannot be read"),
        (("--role", "boss"), {}, "no role"),
        (("--basic",), {}, "--basic asks for the secret of a user"),
    ],
)  # fmt: skip
def test_a_dashboard_that_would_not_be_protected_does_not_start(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], complaint: str
) -> None:
    (tmp_path / "empty").touch()
    words = ("dashboard", "--broker", "redis://127.0.0.1:1", *options)
    with program(*words, folder=tmp_path, **environment) as dashboard:
        assert dashboard.process.wait(30) == 2
        assert complaint in dashboard.output


def test_wrong_secrets_are_slowed_down_and_logged(tmp_path: Path, redis_url: str) -> None:
    environment = {"EDGY_BUS_BROKER": redis_url, "EDGY_BUS_DASHBOARD_USERS": USER}
    options = ("dashboard", "--http", "0", "--basic")
    with program(*options, folder=tmp_path, **environment) as dashboard:
        address = address_of(dashboard)

        def status(given: str) -> int:
            header = {"authorization": f"Basic {b64encode(given.encode()).decode()}"}
            try:
                request = urllib.request.Request(address, headers=header)
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        name, _, secret = USER.partition(":admin:")
        right = f"{name}:{secret}"
        assert status(right) == 200
        assert [status(f"{name}:hidden-guess") for _ in range(6)] == [401] * 5 + [429]
        assert status(right) == 429
        dashboard.wait_for_output("dashboard.guessed")
        assert "address=127.0.0.1" in dashboard.output
        assert "hidden-guess" not in dashboard.output
        assert dashboard.terminate() == 0, dashboard.output
