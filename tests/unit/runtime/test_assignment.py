from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.events import Partition, partitions_of
from edgy_bus.runtime import assignment
from edgy_bus.runtime.assignment import Shares, assign

PLACES = partitions_of("accounts.User", 8) + partitions_of("accounts.Group", 8)
members = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), min_size=1, max_size=9)


@given(members)
def test_everything_is_assigned_and_nobody_has_more_than_a_share(names: set[str]) -> None:
    chosen = assign(names, PLACES)
    assert chosen.keys() == set(PLACES)
    assert set(chosen.values()) <= names
    loads = [list(chosen.values()).count(name) for name in names]
    assert max(loads) <= -(-len(PLACES) // len(names))


@given(members)
def test_every_worker_computes_the_same(names: set[str]) -> None:
    assert assign(sorted(names), PLACES) == assign(sorted(names, reverse=True), PLACES[::-1])


@given(members)
def test_a_worker_that_leaves_moves_few_partitions_besides_its_own(names: set[str]) -> None:
    if len(names) < 2:
        return
    gone = sorted(names)[0]
    before, after = assign(names, PLACES), assign(names - {gone}, PLACES)
    moved = [
        partition
        for partition in PLACES
        if before[partition] != gone and before[partition] != after[partition]
    ]
    assert len(moved) < len(PLACES) - len(PLACES) // len(names)


def test_nobody_alive_holds_nothing() -> None:
    assert assign([], PLACES) == {}


def test_shares_are_computed_when_something_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[object] = []

    def counting(names: Iterable[str], partitions: Iterable[Partition]) -> dict[Partition, str]:
        computed.append(names)
        return assign(names, partitions)

    monkeypatch.setattr(assignment, "assign", counting)
    shares = Shares()
    for names in (["a", "b"], ["b", "a"], ["a", "b"], ["a"], ["a", "b"]):
        assert shares.owners(names, PLACES) == assign(names, PLACES)
    assert len(computed) == 3
    assert shares.owners(["a", "b"], PLACES[1:]) == assign(["a", "b"], PLACES[1:])
