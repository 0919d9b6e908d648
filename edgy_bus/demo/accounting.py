"""The account: what was committed against what every group did. Pure, so that its own tests can plant every fault."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Effect = tuple[int, int]
"""A user's key and the version that an event brought it to."""


@dataclass(frozen=True)
class GroupAccount:
    """What one group did."""

    name: str
    handled: int
    lost: int
    doubled: int
    disordered: int
    phantom: int
    """Effects of operations that never committed."""
    differing: int = 0
    """Rows of the group's copy that are not as in the source."""

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.disordered or self.phantom or self.differing)


@dataclass(frozen=True)
class Account:
    """The whole run."""

    committed: int
    vetoed: int
    rolled_back: int
    groups: Sequence[GroupAccount] = field(default_factory=tuple)

    @property
    def good(self) -> bool:
        """Whether the run proves something, and what it proves is right."""
        return self.committed > 0 and bool(self.groups) and all(group.good for group in self.groups)


def expected_effects(versions: Mapping[int, int]) -> set[Effect]:
    """Every effect there should be, from the last version of every user that was ever created."""
    return {(user, version) for user, last in versions.items() for version in range(1, last + 1)}


def account_of(
    name: str, expected: set[Effect], effects: Sequence[Effect], differing: int = 0
) -> GroupAccount:
    """Compare the effects of a group, in the order in which they happened, with those there should be."""
    counted = Counter(effects)
    return GroupAccount(
        name=name,
        handled=len(effects),
        lost=len(expected - counted.keys()),
        doubled=sum(count - 1 for count in counted.values()),
        disordered=_disordered(effects),
        phantom=len(counted.keys() - expected),
        differing=differing,
    )


def _disordered(effects: Iterable[Effect]) -> int:
    """How many effects came after a later one of the same user."""
    newest: dict[int, int] = {}
    wrong = 0
    for user, version in effects:
        wrong += version < newest.get(user, 0)
        newest[user] = max(version, newest.get(user, 0))
    return wrong
