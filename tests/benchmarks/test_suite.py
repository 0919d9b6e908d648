"""Decisions of the suite: the order of rounds, failures, goals, kept ratios, and reports."""

import json
from pathlib import Path

import pytest

from benchmarks.suite import kept as kept_ratios
from benchmarks.suite.check import PARTS
from benchmarks.suite.contender import Contender, Measured, Result, Unavailable, measure
from benchmarks.suite.goals import Figures, ratios_to_limit, verdicts
from benchmarks.suite.kept import fallen, keep, kept
from benchmarks.suite.latency import compare
from benchmarks.suite.load import Load, load_of
from benchmarks.suite.place import payload, rows
from benchmarks.suite.report import _line, between, markdown


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
    contenders = [Fake("a", log), Fake("b", log)]
    first, second = await measure("s", contenders, 3, lambda _: None)
    assert log[:6] == ["a", "b", "b", "a", "a", "b"]
    assert first.rounds == {"rate": [1, 4, 5]}
    assert second.rounds == {"rate": [2, 3, 6]}
    assert first.median() == 4


@pytest.mark.parametrize("when", ["setup", "round"])
async def test_a_failure_is_reported_and_stops_no_other_contender(when: str) -> None:
    log: list[str] = []
    contenders = [Fake("a", log, fails=when), Fake("b", log)]
    failed, healthy = await measure("s", contenders, 3, lambda _: None)
    assert failed.failed == {"setup": "no such server", "round": "ValueError: broken"}[when]
    assert log.count("a") == (when == "round")
    assert len(healthy.rounds["rate"]) == 3
    assert log[-2:] == ["a is torn down", "b is torn down"]


async def test_a_slow_contender_may_make_fewer_rounds() -> None:
    log: list[str] = []
    contenders = [Fake("a", log, most=1), Fake("b", log)]
    await measure("s", contenders, 3, lambda _: None)
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
    goals = {verdict.goal: verdict for verdict in verdicts(results)}
    relay = goals["relay, a full outbox"]
    assert (relay.value, relay.met) == (50_000, True)
    assert goals["relay / FastStream's publish"].value == 5
    assert goals["consume by name / best peer, a call for each event"].value == 9
    assert goals["consume by name / best peer, a call for each event"].met is False
    assert goals["largest backlog / smallest"].value == pytest.approx(0.8)
    assert goals["create() with its event / raw INSERT"].met is False
    assert goals["Edgy's create / ours with its event"].met is None


class FailsOnce(Fake):
    tries = 2

    async def round(self) -> Measured:
        measured = await super().round()
        if len(self.log) == 1:
            raise Unavailable("no event for 30 s")
        return measured


async def test_a_round_is_tried_again_where_the_contender_allows_it() -> None:
    [tried] = await measure("s", [FailsOnce("once", [])], 2, lambda _: None)
    assert (tried.failed, tried.retried) == ("", ["no event for 30 s"])
    assert tried.rounds == {"rate": [2.0, 3.0]}
    assert _line(tried)[0] == "once (rounds tried again: 1, no event for 30 s)"


async def test_a_round_that_fails_each_time_is_a_failure() -> None:
    always = Fake("always", [], fails="round")
    always.tries = 2
    [failed] = await measure("s", [always], 3, lambda _: None)
    assert failed.failed == "ValueError: broken"
    assert always.log == ["always", "always", "always is torn down"]


def test_a_failed_contender_has_no_figure() -> None:
    broken = result("limits.script", 100)
    broken.failed = "it died in its second round"
    assert Figures([broken]).of("limits.script") is None


def test_of_every_kept_ratio_more_is_better() -> None:
    results = [
        result("publish.relay", 50_000),
        result("limits.script", 400_000),
        result("operations.insert-outbox-postgresql", 300, metric="us"),
        result("operations.insert-raw-postgresql", 150, metric="us"),
        result("latency.ours", 2.0, metric="p50"),
        result("latency.by-hand", 0.5, metric="p50"),
    ]
    measured = ratios_to_limit(Figures(results))
    assert measured["drain"] == 0.125
    assert measured["create"] == 0.5
    assert measured["commit to receiver, p50"] == 0.25
    assert measured["inbox"] is None


def test_every_ratio_is_measured_and_kept() -> None:
    names = set(ratios_to_limit(Figures([])))
    parts = [name for part in PARTS.values() for name in part.ratios]
    assert sorted(parts) == sorted(names)
    assert set(kept()) == names


def test_a_ratio_may_fall_by_a_fifth_and_no_more() -> None:
    before = {"drain": 0.1, "consume by name": 0.2}
    assert fallen(before, {"drain": 0.081, "consume by name": 5.0}) == []
    assert fallen(before, {"drain": 0.079, "consume by name": 0.2}) == [
        "drain: 0.0790 of the speed by hand, was 0.1000"
    ]
    assert fallen(before, {"drain": 0.1, "consume by name": None}) == [
        "consume by name: was not measured"
    ]


def test_every_event_has_300_bytes() -> None:
    assert {len(payload(number)) for number in (0, 7, 123_456)} == {300}
    assert "id" not in rows(1)[0]
    assert json.loads(payload(7)) == {"id": 10_000_007, **rows(8)[7]}


def test_the_page_keeps_the_text_outside_of_the_marks() -> None:
    page = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n"
    assert (
        between(page, "figures", r"new \1")
        == "before\n<!-- figures -->\nnew \\1\n<!-- /figures -->\nafter\n"
    )
    with pytest.raises(ValueError, match="no <!-- figures -->"):
        between("a page", "figures", "new")


def test_latencies_are_refused_where_an_event_is_missing(tmp_path: Path) -> None:
    received = tmp_path / "received"
    received.write_text("1 1000000\n2 9000000\n2 99000000\n")
    assert compare({1: 0, 2: 0}, received) == {"p50": 1.0, "p99": 9.0}
    with pytest.raises(Unavailable, match="1 of 3 events"):
        compare({1: 0, 2: 0, 3: 0}, received)


def test_the_report_names_failed_contenders_and_a_busy_machine() -> None:
    about = {
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
    failed = Result("peers", "peers.arq-consume", "arq", failed="cannot be installed: no network")
    results = [failed, result("limits.script", 1_000, 3_000, 2_000)]
    busy = markdown(results, about, "2026-11-24 12:00")
    assert "| arq | not measured | cannot be installed: no network |" in busy
    assert "| limits.script | 2,000 events/s | 1,000 to 3,000 |" in busy
    assert "other programs used the machine" in busy
    idle = markdown(results, {**about, "load_before": [0.1]}, "2026-11-24 12:00")
    assert "other programs used the machine" not in idle


CIRCUMSTANCES = {"commit": "x", "processor": "y"}
IDLE = 0.02


@pytest.fixture
def no_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept_ratios, "KEPT", tmp_path / "ratios.json")
    return kept_ratios.KEPT


def test_nothing_is_kept_of_a_run_that_lacks_a_ratio(no_ratios: Path) -> None:
    with pytest.raises(ValueError, match="'drain' was not measured"):
        keep({"drain": None, "consume by name": 0.2}, IDLE, CIRCUMSTANCES)
    assert not no_ratios.exists()


@pytest.mark.parametrize("load", [0.5, None])
def test_nothing_is_kept_of_a_machine_that_is_not_idle(no_ratios: Path, load: float | None) -> None:
    with pytest.raises(ValueError, match="other programs used"):
        keep({"drain": 0.1}, load, CIRCUMSTANCES)
    assert not no_ratios.exists()


@pytest.mark.usefixtures("no_ratios")
def test_a_kept_ratio_rises_and_is_never_lowered() -> None:
    first = {"drain": 0.123456, "consume by name": 0.2}
    assert keep(first, IDLE, CIRCUMSTANCES) == ["drain", "consume by name"]
    second = {"drain": 0.1, "consume by name": 0.3}
    assert keep(second, IDLE, CIRCUMSTANCES) == ["consume by name"]
    assert kept() == {"drain": 0.1235, "consume by name": 0.3}


@pytest.mark.usefixtures("no_ratios")
def test_a_part_of_the_ratios_leaves_the_rest_as_kept() -> None:
    keep({"drain": 0.1}, IDLE, CIRCUMSTANCES)
    keep({"create": 0.5}, IDLE, CIRCUMSTANCES)
    assert kept() == {"drain": 0.1, "create": 0.5}


async def test_load_is_sampled_between_the_rounds() -> None:
    log: list[str] = []
    contenders = [Load("drain"), Fake("a", log)]
    results = await measure("drain", contenders, 2, lambda _: None)
    load = load_of(results)
    assert len(results[0].rounds["core"]) == 2
    assert load is not None
    assert 0 <= load < 64
    assert load_of(results[1:]) is None
