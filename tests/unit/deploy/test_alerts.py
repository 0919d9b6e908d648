"""The alerts and the dashboard: every metric exists, every alert has a test and a runbook."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from edgy_bus.observability.metrics import METRICS
from edgy_bus.telemetry import Histogram
from tests.unit.deploy.checks import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
RULES_TEST = RULES.with_name("rules.test.yaml")
DASHBOARD = ROOT / "deploy" / "grafana" / "edgy-bus.json"
OPERATIONS = ROOT / "docs" / "operations.md"

SELECTOR = re.compile(r"\b(edgy_bus_\w+)\s*(\{[^}]*\})?")
BY = re.compile(r"\b(?:by|on) \(([^)]*)\)")

GIVEN = frozenset({"instance", "le"})
"""Labels that Prometheus gives, and that of a bucket."""

needs_promtool = pytest.mark.skipif(
    which("promtool") is None, reason="promtool is not installed (Debian's package prometheus)"
)


def rules(path: Path = RULES) -> list[dict[str, Any]]:
    groups = yaml.safe_load(path.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return loaded


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (
        variable["query"]
        for variable in dashboard()["templating"]["list"]
        if variable["type"] == "query"
    )


def samples() -> dict[str, frozenset[str]]:
    """The names of all samples, with their labels."""
    known: dict[str, frozenset[str]] = {}
    for name, (metric, _) in METRICS.items():
        labels = frozenset(metric.labels)
        parts = ("_bucket", "_count", "_sum") if isinstance(metric, Histogram) else ("",)
        known |= {f"{name}{part}": labels for part in parts}
    return known


def faults(expression: str) -> list[str]:
    """Names and labels of an expression that no program of ours shows."""
    known = samples()
    used = SELECTOR.findall(expression)
    wrong = [f"there is no metric {name}" for name, _ in used if name not in known]
    labels = GIVEN.union(*(known.get(name, frozenset()) for name, _ in used))
    named = {label.strip() for by in BY.findall(expression) for label in by.split(",")}
    named |= {
        label for _, braces in used for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces)
    }
    return wrong + [f"there is no label {label}" for label in sorted(named - labels)]


def test_alerts_and_dashboard_use_metrics_and_labels_that_exist() -> None:
    assert [(each, faults(each)) for each in expressions() if faults(each)] == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(edgy_bus_receiver_handled_total[5m])", "no metric edgy_bus_receiver_handled_total"),
        ("edgy_bus_start_delay_seconds > 1", "no metric edgy_bus_start_delay_seconds"),
        ("max by (groups) (edgy_bus_group_lag_events)", "no label groups"),
        ('edgy_bus_group_lag_events{team="a"}', "no label team"),
    ],
)
def test_a_name_that_does_not_exist_is_noticed(expression: str, fault: str) -> None:
    assert any(fault in each for each in faults(expression))


def test_every_alert_has_a_test_that_fires_it_and_a_runbook() -> None:
    cases = yaml.safe_load(RULES_TEST.read_text("utf-8"))["tests"]
    fired = {
        case["alertname"]
        for test in cases
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    quiet = {
        case["alertname"]
        for test in cases
        for case in test["alert_rule_test"]
        if not case["exp_alerts"]
    }
    names = {rule["alert"] for rule in rules()}
    assert fired == quiet == names
    headings = set(re.findall(r"^### (\w+)$", OPERATIONS.read_text("utf-8"), re.MULTILINE))
    assert headings >= names
    for rule in rules():
        anchor = f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == anchor


def test_panels_have_titles_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["title"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@needs_promtool
def test_the_rules_pass_their_tests() -> None:
    done = promtool("test", "rules", str(RULES_TEST))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("edgy_bus_group_lag_seconds) > 300", "edgy_bus_group_lag_seconds) > 3000"),
        ("_events[10m])) < 0", "_events[10m])) > 0"),
        ("for: 10m", "for: 20m"),
        ('{lost="true"}[15m])) > 0', '{lost="true"}[15m])) < 0'),
        ("oldest_seconds) > 60", "oldest_seconds) > 600"),
    ],
)
def test_the_tests_of_the_rules_notice_a_mistake(tmp_path: Path, right: str, wrong: str) -> None:
    text = RULES.read_text("utf-8")
    assert right in text
    (tmp_path / RULES.name).write_text(text.replace(right, wrong))
    (tmp_path / RULES_TEST.name).write_text(RULES_TEST.read_text("utf-8"))
    assert promtool("test", "rules", str(tmp_path / RULES_TEST.name)).returncode == 1
