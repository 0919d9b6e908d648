"""The comparison of two checkouts: the measured package, turns, and the table."""

from pathlib import Path

import pytest

from benchmarks.suite.compare import Checkout, fallen, python, rows, stage


def answer(folder: Path, **ratios: float | None) -> dict[str, object]:
    package = str((folder / "edgy_bus").resolve())
    return {"package": package, "commit": "c0ffee", "load": 0.01, "ratios": ratios}


def test_a_stage_has_the_package_of_the_checkout_and_these_benchmarks(tmp_path: Path) -> None:
    checkout, folder = tmp_path / "checkout", tmp_path / "stage"
    folder.mkdir()
    for name, text in (("edgy_bus", "NAME = 'older'"), ("benchmarks", "raise SystemExit(1)")):
        (checkout / name).mkdir(parents=True)
        (checkout / name / "__init__.py").write_text(text)
    program = "import benchmarks.suite, edgy_bus; print(edgy_bus.NAME, benchmarks.suite.__file__)"
    package, suite = python(stage(folder, checkout), "-c", program).split()
    assert package == "older"
    assert Path(suite).resolve().is_relative_to(Path(__file__).parents[2] / "benchmarks")


def test_a_turn_of_another_package_is_refused(tmp_path: Path) -> None:
    checkout = Checkout("old", tmp_path / "old")
    with pytest.raises(RuntimeError, match="instead of"):
        checkout.add(answer(tmp_path / "new", drain=0.1))
    assert checkout.ratios == {}


def test_the_table_shows_medians_spread_and_change(tmp_path: Path) -> None:
    old, new = Checkout("old", tmp_path), Checkout("new", tmp_path)
    for value in (0.1, 0.3, 0.2):
        old.add(answer(tmp_path, drain=value, create=0.5))
    new.add(answer(tmp_path, drain=0.1, create=0.5, update=None))
    assert rows(old, new) == [
        ["drain", "0.2000 (0.1000 to 0.3000)", "0.1000 (0.1000 to 0.1000)", "-50.0%"],
        ["create", "0.5000 (0.5000 to 0.5000)", "0.5000 (0.5000 to 0.5000)", "+0.0%"],
    ]
    assert fallen(old, new) == ["drain"]


def test_a_ratio_that_only_the_older_checkout_has_counts_as_fallen(tmp_path: Path) -> None:
    old, new = Checkout("old", tmp_path), Checkout("new", tmp_path)
    old.add(answer(tmp_path, drain=0.2))
    new.add(answer(tmp_path, drain=None))
    assert rows(old, new) == [["drain", "0.2000 (0.2000 to 0.2000)", "not measured", ""]]
    assert fallen(old, new) == ["drain"]
