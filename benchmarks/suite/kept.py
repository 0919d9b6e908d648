"""The ratios that later runs are compared with: `benchmarks/ratios.json`."""

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.suite.goals import RATIOS

KEPT = Path(__file__).parents[1] / "ratios.json"
ALLOWED_FALL = 0.2
"""The share of a kept ratio by which the ratio may fall."""
LOAD = 0.1
"""The share of a core that other programs may use in a run that is kept."""

Ratios = Mapping[str, float | None]
"""Name to ratio; None if a contender failed."""


def kept() -> dict[str, float]:
    return {name: record["value"] for name, record in _records().items()}


def _records() -> dict[str, dict[str, Any]]:
    if not KEPT.exists():
        return {}
    records: dict[str, dict[str, Any]] = json.loads(KEPT.read_text("utf-8"))["ratios"]
    return records


def keep(ratios: Ratios, load: float | None, circumstances: Mapping[str, Any]) -> list[str]:
    """Keep new and risen ratios for later runs. Returns their names.

    A kept ratio is never lowered. Raises `ValueError` and keeps nothing if a ratio is missing, or
    if the machine was not idle.
    """
    if missing := [name for name, value in ratios.items() if value is None]:
        raise ValueError(f"nothing is kept: {missing[0]!r} was not measured")
    # Load does not only lower ratios: some work by hand suffers more from load than ours.
    if load is None or load > LOAD:
        used = "an unknown share" if load is None else f"{load:.2f}"
        raise ValueError(
            f"nothing is kept: other programs used {used} of a core, not {LOAD} or less"
        )
    records = _records()
    when = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}"
    about = {"when": when, **{key: circumstances[key] for key in ("commit", "processor")}}
    values = {name: round(value, 4) for name, value in ratios.items() if value is not None}
    before = {name: record["value"] for name, record in records.items()}
    risen = {name: value for name, value in values.items() if value > before.get(name, 0.0)}
    for name, value in risen.items():
        records[name] = {"value": value, **about, "load": round(load, 2)}
    order = [ratio.name for ratio in RATIOS if ratio.name in records]
    text = json.dumps({"ratios": {name: records[name] for name in order}}, indent=1)
    KEPT.write_text(text + "\n", "utf-8")
    return list(risen)


def fallen(kept_ratios: Mapping[str, float], ratios: Ratios) -> list[str]:
    """Return a message for each ratio that fell too far, or was not measured."""
    messages = []
    for name, before in kept_ratios.items():
        now = ratios.get(name)
        if now is None:
            messages.append(f"{name}: was not measured")
        elif now < before * (1 - ALLOWED_FALL):
            messages.append(f"{name}: {now:.4f} of the speed by hand, was {before:.4f}")
    return messages
