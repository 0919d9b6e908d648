"""The dashboard in a real browser: `make test-browser`.

The browser is Debian's chromium, driven by Playwright (the extra `browser`).
"""

import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgy_bus.brokers.base import Tally
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.events import Partition
from edgy_bus.operations import Selection, actions, dead, held, list_dead
from edgy_bus.testing.conformance.relays import card_of
from tests.acceptance.programs import Program, program
from tests.support import bury, event, hold

playwright = pytest.importorskip(
    "playwright.async_api", reason="Playwright is not installed: make test-browser"
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

SECRET = "a-secret-for-the-tests"
TEAMS = Partition("accounts.Team", "0")
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>'\""


@pytest.fixture
async def broker(redis_url: str, prefix: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis_url, prefix)
    yield broker
    await broker.close()


@pytest.fixture
def dashboard(redis_url: str, prefix: str, tmp_path: Path) -> Any:
    options = ("dashboard", "--prefix", prefix, "--http", "0")
    users = f"anna:admin:{SECRET}\nvera:viewer:{SECRET}"
    environment = {"EDGY_BUS_BROKER": redis_url, "EDGY_BUS_DASHBOARD_USERS": users}
    with program(*options, folder=tmp_path, **environment) as running:
        running.wait_for_output("the dashboard is at")
        yield running


@pytest.fixture
async def page(dashboard: Program) -> AsyncIterator[Any]:
    """A page of a browser on the dashboard. Whatever the console complains about is an error."""
    address = re.search(r"http://\S+", dashboard.output)
    assert address is not None
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(base_url=address[0])
        opened = await context.new_page()
        opened.set_default_timeout(8_000)
        complaints: list[str] = []
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "console",
            lambda line: complaints.append(line.text) if line.type == "error" else None,
        )
        yield opened
        await browser.close()
    # The status of an answer is written there as well, and is what some tests are about.
    assert not [each for each in complaints if "Failed to load resource" not in each]


async def sign_in(page: Any, name: str = "anna", path: str = "/") -> None:
    await page.goto(path)
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Secret").fill(SECRET)
    # By the keyboard, as all of the page can be used.
    await page.keyboard.press("Enter")
    await page.get_by_role("navigation", name="Pages").first.wait_for()


async def shows(page: Any, text: str) -> None:
    await page.get_by_text(text).first.wait_for()


async def test_the_overview_follows_what_happens(page: Any, broker: RedisBroker) -> None:
    await sign_in(page)
    await shows(page, "No group has read a stream")
    await bury(broker, event("1", 1))
    # Without loading the page again.
    await page.get_by_role("link", name="mail").wait_for()
    await shows(page, "Live ·")


async def test_selected_letters_and_all_that_match_are_acted_on(
    page: Any, broker: RedisBroker
) -> None:
    await bury(broker, *(event(str(number), 1) for number in range(60)))
    await bury(broker, event("1", 1), partition=TEAMS, receiver="app.search", group="search")
    await sign_in(page, path="/letters?group=mail")
    await page.get_by_label("Select all letters of this page").check()
    assert await page.locator("input[name=id]:checked").count() == 50
    await page.get_by_role("button", name="Replay …").click()
    await page.get_by_role("button", name="Replay 50 letters").click()
    await shows(page, "Replayed 50 of 50 letters.")
    await page.goto("/letters?group=mail")
    await page.get_by_label("all that match").check()
    await page.get_by_role("button", name="Discard …").click()
    await page.get_by_role("button", name="Discard 10 letters").click()
    await shows(page, "Discarded 10 of 10 letters.")
    left = [letter async for letter in list_dead(broker, Selection())]
    assert [letter.group for letter in left] == ["search"]
    done = [(each.operator, each.action, each.count) for each in (await actions(broker, 9)).actions]
    assert done == [("anna", "dead replay", 50), ("anna", "dead discard", 10)]


async def test_a_row_is_released_and_a_group_is_paused_and_resumed(
    page: Any, broker: RedisBroker
) -> None:
    await hold(broker, "a\nb\"'<")
    await sign_in(page, path="/held")
    await page.get_by_role("button", name="Release", exact=True).click()
    await shows(page, "Released 1 of 1 rows.")
    assert [row.released for row in (await held(broker, "mail")).rows] == [True]
    await page.goto("/group?name=mail")
    await page.get_by_text("Pause", exact=True).first.click()
    await page.get_by_label("Why").first.fill("the mail server is away")
    await page.get_by_role("button", name="Pause mail").click()
    await shows(page, "Paused the group mail, until")
    pause = (await broker.members("mail")).pause
    assert pause is not None
    assert "the mail server is away" in pause.note
    await page.get_by_role("button", name="Resume mail").click()
    await shows(page, "Resumed the group mail.")
    assert (await broker.members("mail")).pause is None


async def test_hostile_text_stays_text(page: Any, broker: RedisBroker) -> None:
    hostile = event(HOSTILE, 1, note=HOSTILE)
    await bury(broker, hostile, receiver=HOSTILE, reason=HOSTILE)
    await hold(broker, HOSTILE, receiver=HOSTILE, reason=HOSTILE)
    await broker.pause("mail", None, HOSTILE)
    await sign_in(page)
    await broker.tally("mail", Tally(1, 1, 1), HOSTILE)
    await broker.list_relay(replace(card_of(HOSTILE), service=HOSTILE), 60, 0.0)
    await broker.join("mail", HOSTILE, 60, HOSTILE.encode())
    paths = ("/", "/group?name=mail", "/dead", "/letters", "/held", "/receivers", "/doctor")
    for path in (*paths, "/workers", "/outboxes", "/replays"):
        await page.goto(path)
        assert "taken" not in await page.title(), path
        assert await page.locator("img[src=x]").count() == 0, path
    await page.goto("/letters")
    await page.locator("td.time a").first.click()
    await page.get_by_role("link", name="Show the data").click()
    await shows(page, "document.title")
    assert "taken" not in await page.title()
    await page.goto(f"/event?id={hostile.id}")
    await shows(page, "gave up after 1 attempt")
    assert "taken" not in await page.title()


async def test_an_ended_session_does_nothing_and_asks_to_sign_in(
    page: Any, broker: RedisBroker
) -> None:
    await bury(broker, event("1", 1))
    await sign_in(page, path="/confirm?action=discard&which=all")
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Discard 1 letter").click()
    await shows(page, "Your session has ended, and nothing was done.")
    assert (await dead(broker, Selection())).count == 1
    await page.goto("/dead")
    await page.get_by_role("button", name="Sign in").wait_for()


async def test_a_viewer_has_no_buttons(page: Any, broker: RedisBroker) -> None:
    await bury(broker, event("1", 1))
    await hold(broker, "2")
    await sign_in(page, "vera")
    for path in ("/letters", "/held", "/group?name=mail"):
        await page.goto(path)
        names = await page.get_by_role("button").all_inner_texts()
        assert names == ["Sign out"], path


@pytest.mark.parametrize("width", [360, 1280])
async def test_pages_fit_the_screen(page: Any, broker: RedisBroker, width: int) -> None:
    await bury(broker, event("1", 1), reason="x" * 500, receiver="a.very.long.name" * 5)
    await hold(broker, "2" * 80)
    await page.set_viewport_size({"width": width, "height": 800})
    await sign_in(page)
    await broker.tally("mail", Tally(1, 1, 1), "v" * 64)
    await broker.join("mail", "w" * 80, 60, b"")
    paths = ("/", "/dead", "/letters", "/held", "/events", "/doctor", "/group?name=mail")
    for path in (*paths, "/workers", "/outboxes", "/replays"):
        await page.goto(path)
        excess = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert excess <= 0, path


async def test_a_narrow_screen_shows_the_newest_hours_and_the_entry_of_the_page(
    page: Any, broker: RedisBroker
) -> None:
    await bury(broker, event("1", 1))
    await broker.tally("mail", Tally(1, 1, 1), "1.0")
    await page.set_viewport_size({"width": 360, "height": 800})
    await sign_in(page)
    assert await page.evaluate("""() => Array.from(document.querySelectorAll(".scroll"), (each) => {
        const drawing = each.firstElementChild.getBoundingClientRect();
        const frame = each.getBoundingClientRect();
        return drawing.width > frame.width && Math.abs(drawing.right - frame.right) < 2;
    })""") == [True, True]
    await page.evaluate("document.querySelector('.scroll').scrollLeft = -100")
    await page.evaluate("document.querySelector('.scroll').dataset.old = '1'")
    await page.locator(".scroll[data-old]").wait_for(state="detached")
    assert await page.evaluate("document.querySelector('.scroll').scrollLeft") == -100
    await page.goto("/actions")
    box = await page.get_by_role("link", name="Actions").bounding_box()
    assert 0 <= box["x"] <= 360 - box["width"]
