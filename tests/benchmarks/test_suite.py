"""The suite's own decisions: the order of rounds, what a failure does to the others, goals, and what is written where."""

import json
from pathlib import Path

import pytest

from benchmarks.suite import check
from benchmarks.suite.check import fallen, kept
from benchmarks.suite.contender import Contender, Measured, Result, Unavailable, measure
from benchmarks.suite.goals import Figures, ratios_to_limit, verdicts
from benchmarks.suite.latency import compare
from benchmarks.suite.place import payload, rows
from benchmarks.suite.report import between, markdown


class Fake(Contender):
    def __init__(self, key: str, log: list[str], *, fails: str = "", most: int = 100) -> None:
        self.key = self.label = key
        self.log, self.fails, self.most = log, fails, most

    async def setup(self) -> None:
        if self.fails == "setup":
            raise Unavailable("no such server")

    async def round(self) -> Measured:
        self.log.append(self.key)
        if self.fails == "round":
            raise ValueError("broken")
        return {"rate": float(len(self.log))}

    async def teardown(self) -> None:
        self.log.append(f"{self.key} is torn down")


def result(key: str, *values: float, metric: str = "rate", section: str = "limits") -> Result:
    return Result(section, key, key, {metric: list(values)})


async def test_every_second_round_goes_backwards() -> None:
    log: list[str] = []
    found = await measure("s", [Fake("a", log), Fake("b", log)], 3, lambda _: None)
    assert log[:6] == ["a", "b", "b", "a", "a", "b"]
    assert [one.rounds for one in found] == [{"rate": [1, 4, 5]}, {"rate": [2, 3, 6]}]
    assert found[0].median() == 4


@pytest.mark.parametrize("when", ["setup", "round"])
async def test_one_that_fails_is_told_and_stops_nobody_else(when: str) -> None:
    log: list[str] = []
    found = await measure("s", [Fake("a", log, fails=when), Fake("b", log)], 3, lambda _: None)
    assert found[0].failed == {"setup": "no such server", "round": "ValueError: broken"}[when]
    assert log.count("a") == (when == "round")
    assert len(found[1].rounds["rate"]) == 3
    assert log[-2:] == ["a is torn down", "b is torn down"]


async def test_a_slow_one_may_make_fewer_rounds() -> None:
    log: list[str] = []
    await measure("s", [Fake("a", log, most=1), Fake("b", log)], 3, lambda _: None)
    assert (log.count("a"), log.count("b")) == (1, 3)


def test_goals_compare_what_was_measured_in_the_run() -> None:
    results = [
        result("publish.relay", 40_000, 60_000, 50_000),
        result("peers.faststream-publish", 10_000),
        result("peers.arq-consume", 3_000),
        result("peers.saq-consume", 7_000),
        result("peers.faststream-consume_batch", 90_000),
        result("consume.name", 63_000),
        result("growth.backlog-10000", 50_000),
        result("growth.backlog-1000000", 40_000),
        result("growth.backlog-100000", 10),
        result("operations.insert-outbox-postgresql", 600, metric="us"),
        result("operations.insert-raw-postgresql", 300, metric="us"),
    ]
    found = {one.what: one for one in verdicts(results)}
    assert (found["relay, a full outbox"].value, found["relay, a full outbox"].met) == (
        50_000,
        True,
    )
    assert found["relay / FastStream's publish"].value == 5
    assert found["consume by name / best peer, a call for each event"].value == 9
    assert found["consume by name / best peer, a call for each event"].met is False
    assert found["largest backlog / smallest"].value == pytest.approx(0.8)
    assert found["create() with its event / raw INSERT"].met is False
    assert found["Edgy's create / ours with its event"].met is None


def test_what_failed_is_no_figure() -> None:
    broken = result("limits.script", 100)
    broken.failed = "it died in its second round"
    assert Figures([broken]).of("limits.script") is None


def test_the_kept_ratios_are_those_that_a_run_finds() -> None:
    assert kept().keys() == ratios_to_limit(Figures([])).keys()


def test_a_ratio_may_fall_by_a_fifth_and_no_more() -> None:
    before = {"drain": 0.1, "consume by name": 0.2}
    assert fallen(before, {"drain": 0.081, "consume by name": 5.0}) == []
    assert fallen(before, {"drain": 0.079, "consume by name": 0.2}) == [
        "drain: 0.0790 of what is possible by hand, was 0.1000"
    ]
    assert fallen(before, {"drain": 0.1, "consume by name": None}) == [
        "consume by name: was not measured"
    ]


def test_every_event_has_300_bytes() -> None:
    assert {len(payload(number)) for number in (0, 7, 123_456)} == {300}
    assert "id" not in rows(1)[0]
    assert json.loads(payload(7)) == {"id": 10_000_007, **rows(8)[7]}


def test_the_page_keeps_what_stands_outside_of_the_marks() -> None:
    page = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    assert (
        between(page, "figures", r"new \1")
        == "before\n<!-- figures -->\nnew \\1\n<!-- /figures -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no <!-- figures -->"):
        between("a page", "figures", "new")


def test_latencies_are_refused_where_an_event_was_not_heard_of(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    heard.write_text("1 1000000\n2 9000000\n2 99000000\n")
    assert compare({1: 0, 2: 0}, heard) == {"p50": 1.0, "p99": 9.0}
    with pytest.raises(Unavailable, match="1 of 3 events"):
        compare({1: 0, 2: 0, 3: 0}, heard)


def test_the_report_names_what_was_not_measured_and_a_busy_machine() -> None:
    told = {
        **dict.fromkeys(
            ("commit", "processor", "python", "redis", "postgresql", "fsync, synchronous_commit"),
            "x",
        ),
        "cores": 2,
        "memory_gb": 8,
        "scale": {"rounds": 5, "bulk": 10_000},
        "load_before": [2.0],
        "load_after": [1.0],
    }
    gone = Result("peers", "peers.arq-consume", "arq", failed="cannot be installed: no network")
    text = markdown([gone, result("limits.script", 1_000, 3_000, 2_000)], told, "2026-11-24 12:00")
    assert "| arq | not measured | cannot be installed: no network |" in text
    assert "| limits.script | 2,000 events/s | 1,000 to 3,000 |" in text
    assert "others used the machine" in text
    assert "others used the machine" not in markdown(
        [gone], {**told, "load_before": [0.1]}, "2026-11-24 12:00"
    )


def test_nothing_is_kept_of_a_run_that_lacks_a_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "KEPT", tmp_path / "ratios.json")
    told = {"commit": "x", "processor": "y"}
    with pytest.raises(ValueError, match="'drain' was not measured"):
        check.keep({"drain": None, "consume by name": 0.2}, told, "now")
    assert not check.KEPT.exists()
    check.keep({"drain": 0.123456, "consume by name": 0.2}, told, "now")
    assert check.kept() == {"drain": 0.1235, "consume by name": 0.2}
