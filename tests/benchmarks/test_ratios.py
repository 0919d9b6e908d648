"""Speed does not fall unnoticed: `make bench-check`, on an idle machine. Not part of `make test`.

Our ratios to the same work by hand in the same run are compared with `benchmarks/ratios.json`.
`make bench-check ARGS=--keep` keeps new and risen ratios there.
"""

from collections.abc import Iterator

import pytest
from rich.console import Console

from benchmarks.suite.check import run, show
from benchmarks.suite.kept import fallen, kept
from benchmarks.suite.place import Place, place


@pytest.fixture
def where() -> Iterator[Place]:
    with place() as servers:
        yield servers


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_no_ratio_has_fallen_by_more_than_a_fifth(where: Place) -> None:
    check = run(where)
    show(check, kept(), Console())
    assert not fallen(kept(), check.ratios)
