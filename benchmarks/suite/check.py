"""Whether our speed, as a share of the same work by hand in the same run, is what it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.contender import Result, Scale, measure
from benchmarks.suite.goals import Figures, ratios_to_limit
from benchmarks.suite.limits import Read, Script
from benchmarks.suite.ours import Service
from benchmarks.suite.ours_consume import Consume
from benchmarks.suite.ours_publish import Drain
from benchmarks.suite.place import Place

KEPT = Path(__file__).parents[1] / "ratios.json"
SCALE = Scale(rounds=5, bulk=10_000, backlog=40_000)
MOST = 0.2
"""The share of a kept ratio by which it may fall."""


def kept() -> dict[str, float]:
    ratios: dict[str, float] = json.loads(KEPT.read_text("utf-8"))["ratios"]
    return ratios


def keep(found: Mapping[str, float | None], told: Mapping[str, Any], when: str) -> None:
    """Make these the ratios that later runs are held against. Raises `ValueError` where one is missing."""
    if missing := [name for name, value in found.items() if value is None]:
        raise ValueError(f"{missing[0]!r} was not measured, so nothing is kept")
    text = {
        "when": when,
        "commit": told["commit"],
        "processor": told["processor"],
        "ratios": {name: round(value, 4) for name, value in found.items() if value is not None},
    }
    KEPT.write_text(json.dumps(text, indent=1) + "\n", "utf-8")


def fallen(kept_ratios: Mapping[str, float], found: Mapping[str, float | None]) -> list[str]:
    """What to say of every ratio that has fallen too far, or was not measured."""
    told = []
    for name, before in kept_ratios.items():
        now = found.get(name)
        if now is None:
            told.append(f"{name}: was not measured")
        elif now < before * (1 - MOST):
            told.append(f"{name}: {now:.4f} of what is possible by hand, was {before:.4f}")
    return told


async def ratios(
    place: Place, scale: Scale = SCALE
) -> tuple[dict[str, float | None], list[Result]]:
    """Those that are kept, of a short run of its own."""
    async with Service(place, "check") as service:
        await service.backlog(scale.backlog)
        contenders = [
            Script(place, scale.bulk * 5),
            Drain(place, scale.bulk, "publish.relay", "relay"),
            Read(place, scale.backlog, 500),
            Consume(service, scale.backlog, "consume.name", "by name"),
            Consume(service, scale.backlog, "consume.class", "by class", by_class=True),
        ]
        results = await measure("check", contenders, scale.rounds, lambda _: None)
    return ratios_to_limit(Figures(results)), results
