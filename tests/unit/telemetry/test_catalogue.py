"""The catalogue is complete and consistent: names, metrics and the fields that metrics need."""

import ast
import inspect
import re
from collections import Counter as Count
from dataclasses import fields
from pathlib import Path

import pytest

import edgy_bus
from edgy_bus.telemetry import Notice, catalogue

PACKAGE = Path(edgy_bus.__file__).parent


def test_every_name_is_used_once() -> None:
    names = Count(entry.name for entry in catalogue.ENTRIES)
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("entry", catalogue.ENTRIES, ids=lambda entry: entry.__name__)
def test_an_entry_is_named_documented_and_feeds_a_metric_from_its_own_fields(
    entry: type[Notice],
) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", entry.name)
    assert inspect.getdoc(entry) != inspect.getdoc(Notice)
    if entry.metric is not None:
        known = {field.name for field in fields(entry)}
        assert known >= set(entry.metric.labels)
        assert entry.metric.amount is None or entry.metric.amount in known
        assert re.fullmatch(r"edgy_bus_[a-z_]+_total", entry.metric.name)


def test_metrics_have_names_of_their_own() -> None:
    names = Count(entry.metric.name for entry in catalogue.ENTRIES if entry.metric is not None)
    assert [name for name, count in names.items() if count > 1] == []


def test_every_entry_is_reported_somewhere() -> None:
    used: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "telemetry" not in path.parts:
            tree = ast.parse(path.read_text("utf-8"))
            used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {entry.__name__ for entry in catalogue.ENTRIES} - used == set()
