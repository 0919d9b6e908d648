"""The log of actions: the latest actions of operators, kept beside the streams."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

ACTIONS = 1000
"""Actions that a broker keeps at least. A broker may keep a bounded number of older actions."""


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """Describe an action of an operator.

    Attributes:
        operator: the name of the operator, or USER@HOST.
        action: the words that name the action, for example `dead replay`.
        group: the group concerned; empty if the action names no group.
        receiver: the receivers concerned; empty for all.
        choice: the rest of the choice, in words: a filter, ids, a length of time.
        count: how many letters, rows or models the action changed.
        result: the outcome, in words.
    """

    operator: str
    action: str
    group: str = ""
    receiver: str = ""
    choice: str = ""
    count: int = 0
    result: str = ""


class ActionLog(ABC):
    """Keep the latest actions of operators. Needs no lease."""

    @abstractmethod
    async def record(self, entry: ActionEntry) -> None:
        """Append an action, with the time of the broker's clock."""

    @abstractmethod
    async def actions(self, count: int = ACTIONS) -> Sequence[tuple[float, ActionEntry]]:
        """Return up to `count` of the latest actions, the newest last.

        Each has the time of its record, in seconds since 1970 by the broker's clock.
        """
