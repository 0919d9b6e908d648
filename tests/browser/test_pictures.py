"""The pictures of the documents: `make pictures` writes them, from the same data each time."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.operations import Selection, list_dead
from tests.acceptance.programs import program
from tests.browser import scene, service
from tests.browser.test_dashboard import CHROMIUM, playwright, pytestmark

__all__ = ["pytestmark"]

ROOT = Path(__file__).parents[2]

FOLDER = os.environ.get("EDGY_BUS_PICTURES")
"""Where the pictures are written; without it, the pages are only looked at."""

MOST_BYTES = 150_000


@pytest.fixture
async def broker(redis_url: str, prefix: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis_url, prefix)
    yield broker
    await broker.close()


@pytest.fixture
async def address(
    broker: RedisBroker,
    redis_url: str,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[str]:
    """The address of a dashboard of a service with a database."""
    await scene.fill(broker, redis_url)
    # Relative: no picture shows where it was made.
    monkeypatch.chdir(tmp_path)
    database = "sqlite:///accounts.sqlite"
    await service.fill(service.make_service(database, redis_url, prefix))
    options = ("--http", "0", "--role", "admin", "--as", "anna")
    environment = {
        "EDGY_BUS_BROKER": redis_url,
        "PYTHONPATH": str(ROOT),
        service.DATABASE: database,
        service.PREFIX: prefix,
    }
    with program(
        "dashboard", "tests.browser.service:create_bus", *options, folder=tmp_path, **environment
    ) as running:
        running.wait_for_output("the dashboard is at")
        found = re.search(r"http://\S+", running.output)
        assert found is not None
        yield found[0]


async def test_the_pictures_of_the_documents(address: str, broker: RedisBroker) -> None:
    letters = [letter async for letter in list_dead(broker, Selection(receiver="app.send_receipt"))]
    pictures = {
        "overview": ("/", "light", 1070, "events wait for the relay"),
        "dead-letters": ("/dead", "dark", 360, "app.send_welcome"),
        "event": (f"/event?id={letters[0].event_id}", "light", 760, "gave up after 1 attempt"),
        "replays": ("/replays", "light", 540, "To continue"),
    }
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, (path, scheme, height, text) in pictures.items():
            size = {"width": 1200, "height": height}
            context = await browser.new_context(
                base_url=address, color_scheme=scheme, viewport=size
            )
            page: Any = await context.new_page()
            await page.goto(path)
            await page.get_by_text(text).first.wait_for()
            picture = await page.screenshot()
            assert len(picture) < MOST_BYTES, (name, len(picture))
            if FOLDER:
                (ROOT / FOLDER / f"{name}.png").write_bytes(picture)
        await browser.close()
