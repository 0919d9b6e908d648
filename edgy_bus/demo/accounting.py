"""Account for every event: compare the committed operations with the effects in every group.

The functions are pure, so that tests can plant every kind of fault.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Effect = tuple[int, int]
"""The key of a user, and the version that an event brought the user to."""


@dataclass(frozen=True)
class GroupAccount:
    """Hold the result of the comparison for a group.

    Attributes:
        name: the group.
        handled: effects in total.
        lost: expected effects that are missing.
        doubled: effects beyond the first of their kind.
        disordered: effects that came after a later effect on the same user.
        phantom: effects of operations that never committed.
        differing: rows of the group's copy that differ from the source.
    """

    name: str
    handled: int
    lost: int
    doubled: int
    disordered: int
    phantom: int
    differing: int = 0

    @property
    def good(self) -> bool:
        """Return whether the group has no fault."""
        return not (self.lost or self.doubled or self.disordered or self.phantom or self.differing)


@dataclass(frozen=True)
class Account:
    """Hold the account of a whole run."""

    committed: int
    vetoed: int
    rolled_back: int
    groups: Sequence[GroupAccount] = field(default_factory=tuple)

    @property
    def good(self) -> bool:
        """Return whether something was committed, and no group has a fault."""
        # Without commits or groups nothing was compared: such a run must not pass as a proof.
        compared = self.committed > 0 and len(self.groups) > 0
        return compared and all(group.good for group in self.groups)


def expected_effects(versions: Mapping[int, int]) -> set[Effect]:
    """Return every expected effect, from the last version of every user ever created."""
    return {
        (user, version)
        for user, last_version in versions.items()
        for version in range(1, last_version + 1)
    }


def account_of(
    name: str, expected: set[Effect], effects: Sequence[Effect], differing: int = 0
) -> GroupAccount:
    """Compare the effects of a group with the expected effects.

    Args:
        name: the group.
        expected: every effect of a committed operation.
        effects: the effects in the group, in the order in which they happened.
        differing: rows of the group's copy that differ from the source.
    """
    counts = Counter(effects)
    return GroupAccount(
        name=name,
        handled=len(effects),
        lost=len(expected - counts.keys()),
        doubled=sum(count - 1 for count in counts.values()),
        disordered=_disordered(effects),
        phantom=len(counts.keys() - expected),
        differing=differing,
    )


def _disordered(effects: Iterable[Effect]) -> int:
    """Count the effects that came after a later effect on the same user."""
    # The bus promises order per row only, so versions of different users are not compared.
    newest: dict[int, int] = {}
    count = 0
    for user, version in effects:
        count += version < newest.get(user, 0)
        newest[user] = max(version, newest.get(user, 0))
    return count
