"""Speed does not fall unseen: `make bench-check`, on a machine that does nothing else. Not part of `make test`.

Ratios to the same work by hand in the same run are compared with those of `benchmarks/ratios.json`, which `make bench ARGS=--keep` writes.
"""

from collections.abc import Iterator

import pytest

from benchmarks.suite.check import fallen, kept, ratios
from benchmarks.suite.place import Place, place


@pytest.fixture
def where() -> Iterator[Place]:
    with place() as one:
        yield one


@pytest.mark.benchmark
@pytest.mark.timeout(900)
async def test_no_ratio_has_fallen_by_more_than_a_fifth(where: Place) -> None:
    found, results = await ratios(where)
    print("\n", {name: None if value is None else round(value, 4) for name, value in found.items()})
    print([one.failed for one in results if one.failed] or "every contender was measured")
    assert not fallen(kept(), found)
