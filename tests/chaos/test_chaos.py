"""Run a minute of chaos with real processes and servers, and every kind of fault.

No event is lost, reordered or takes effect twice.
"""

import sys
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from tests.chaos import run as module
from tests.chaos.faults import DATABASE_RESTARTS
from tests.chaos.recovery import Outage, Recovery
from tests.chaos.run import OWN, SQLITE, Options, Result, _deck, described, run, vacuous
from tests.simulation.checker import Report


async def _right(options: Options) -> Result:
    for seed in (options.seed, options.seed + 100, options.seed + 200):
        result = await run(replace(options, seed=seed))
        # On a busy machine a run may show too little, and then says nothing.
        if result.report.faults.keys() != {"vacuous"}:
            break
    assert not result.report.faults, described(result)
    return result


@pytest.mark.timeout(600)
async def test_on_postgresql() -> None:
    result = await _right(Options(seconds=40, seed=1, faulters=2, between=0.6, database=OWN))
    assert result.faults[DATABASE_RESTARTS] >= 1, described(result)


@pytest.mark.timeout(600)
async def test_on_sqlite() -> None:
    await _right(Options(seconds=20, seed=2, faulters=2, between=0.6, database=SQLITE))


def test_the_same_seed_makes_the_same_faults() -> None:
    def drawn(seed: int) -> list[tuple[str, float]]:
        return [(kind, draw.random()) for kind, draw in islice(_deck(Options(seed=seed)), 40)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert DATABASE_RESTARTS in {kind for kind, _ in drawn(3)[:16]}


def _result(kills: int = 4, **changes: int) -> Result:
    options = Options()
    counts = {
        "events": 10_000,
        "faults": 3,
        "kinds": len(options.faults()),
        "shared": 100,
        **changes,
    }
    result = Result(Report(), counts["events"], shared=counts["shared"])
    result.recoveries = [Recovery(Outage("kill", 1, 0.0), "mail", 0, 1.0, 1.0)] * changes.get(
        "recoveries", 10
    )
    result.faults.update(dict.fromkeys(options.faults()[: counts["kinds"]], counts["faults"]))
    result.faults["kill worker"] = kills
    return result


def test_a_run_in_which_enough_happened_is_not_vacuous() -> None:
    assert vacuous(Options(), _result()) == []
    assert vacuous(Options(), _result(kills=0, shared=0, recoveries=0)) == []


@pytest.mark.parametrize(
    ("few", "what"),
    [
        ("events", "events"),
        ("faults", "faults"),
        ("kinds", "kinds of faults"),
        ("shared", "events redelivered to another process"),
        ("recoveries", "measured recoveries"),
    ],
)
def test_a_run_in_which_too_little_happened_says_of_what(few: str, what: str) -> None:
    assert any(f" {what}," in reason for reason in vacuous(Options(), _result(**{few: 0})))


def test_a_run_in_which_nothing_happened_is_recorded_with_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded: list[dict[str, Any]] = []

    async def nothing(*_: object) -> Result:
        return Result(Report(), events=0)

    monkeypatch.setattr(module, "_run", nothing)
    monkeypatch.setattr(module, "record", lambda kind, **numbers: recorded.append(numbers))
    monkeypatch.setattr(sys, "argv", ["run", "--seconds", "1"])
    assert module.main() == 1
    assert recorded == [{"seeds": 1, "faults": 0, "events": 0, "errors": 2}]
