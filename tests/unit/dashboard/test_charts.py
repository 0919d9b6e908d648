"""Charts of a group: shapes of a day, marks of versions, and the same in words."""

from datetime import UTC, datetime, timedelta

from edgy_bus.brokers.base import History, Tally
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.dashboard.charts import HEIGHT, WIDTH, errors_of, events_of
from edgy_bus.operations.histories import in_steps
from tests.support import bury, event
from tests.unit.dashboard.conftest import Come
from tests.unit.dashboard.visitor import tags, words

NOW = datetime(2026, 11, 28, 12, 4, 59, tzinfo=UTC)


def view(minutes: dict[int, Tally], *versions: tuple[timedelta, str]) -> History:
    newest = int(NOW.timestamp() // 60)
    began = [((NOW - ago).timestamp(), version) for ago, version in versions]
    return History(NOW.timestamp(), {newest - ago: each for ago, each in minutes.items()}, began)


def test_the_highest_column_has_the_height_of_the_chart() -> None:
    history = in_steps(view({0: Tally(1000, 3, 1), 720: Tally(500), 5: Tally(1)}))
    half, small, full = events_of(history).columns
    assert events_of(history).most == 1000
    assert (full.y, full.height) == (0, HEIGHT)
    assert (half.y, half.height) == (HEIGHT / 2, HEIGHT / 2)
    assert small.height > 0, "a single event is seen, too"
    assert round(full.x + full.width, 1) == WIDTH
    assert half.x == round(WIDTH * 143 / 288, 1)
    assert full.words == "12:00: 1,000 handled"
    (errors,) = errors_of(history).columns
    assert errors.words == "12:00: 3 tried again, 1 dead letters"


def test_a_day_has_lines_of_time_and_of_versions() -> None:
    chart = events_of(in_steps(view({}, (timedelta(hours=12), "1.0"), (timedelta(days=2), "0.9"))))
    assert (chart.most, chart.columns) == (1, ())
    assert [hour.text for hour in chart.hours] == [
        "15:00", "18:00", "21:00", "00:00", "03:00", "06:00", "09:00", "12:00",
    ]  # fmt: skip
    (mark,) = chart.versions
    assert (mark.text, abs(mark.x - WIDTH / 2) < 4) == ("1.0", True)


def test_texts_of_versions_do_not_overlap() -> None:
    hours = {12: "10.0.12", 11: "2.0", 10: "3.0", 4: "4.0", 1: "b" * 64}
    began = [(timedelta(hours=ago), version) for ago, version in hours.items()]
    chart = errors_of(in_steps(view({}, *began)))
    texts = ["", "2.0", "3.0", "", "b" * 13 + "…"]
    assert [mark.text for mark in chart.versions] == texts
    assert [mark.ends for mark in chart.versions] == [False] * 4 + [True]


async def test_the_overview_has_the_day_of_all_groups(come: Come, broker: MemoryBroker) -> None:
    await bury(broker, event("1", 1))
    await bury(broker, event("2", 1), group="search")
    await broker.tally("mail", Tally(handled=1200, retried=2, dead=1), "1.0")
    await broker.tally("search", Tally(handled=34), "7.0")
    page = (await come().get("/")).text
    assert "In 24 hours 1,234 events handled, 2 calls tried again, 1 dead letter." in words(page)
    assert "Version 1.0 of mail began at" in words(page)
    assert "Version 7.0 of search began at" in words(page)
    assert len([tag for tag, _ in tags(page) if tag == "svg"]) == 2


async def test_the_page_of_a_group_has_charts_and_words(come: Come, broker: MemoryBroker) -> None:
    await bury(broker, event("1", 1))
    empty = (await come().get("/group?name=mail")).text
    assert "Nothing was handled in the last 24 hours" in empty
    assert "<figure" not in empty
    await broker.tally("mail", Tally(handled=1200, retried=2, dead=1), "<b>1.0</b>")
    page = (await come().get("/group?name=mail")).text
    text = words(page)
    assert "In the last hour 1,200 events handled, 2 calls tried again, 1 dead letter." in text
    assert "Version <b>1.0</b> of mail began at" in text
    assert "<b>" not in page
    drawings = [attributes for tag, attributes in tags(page) if tag == "svg"]
    titles = {attributes.get("id") for tag, attributes in tags(page) if tag == "title"}
    assert [each["role"] for each in drawings] == ["img", "img"]
    assert {each["aria-labelledby"] for each in drawings} <= titles
    # The content security policy forbids styles in a page.
    assert not any("style" in attributes for _, attributes in tags(page))
