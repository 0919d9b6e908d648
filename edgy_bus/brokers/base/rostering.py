"""The roster: the durable list of the receivers that a group has, whichever program has them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Start = Literal["kept", "now"]
"""Where a new receiver begins: with the oldest event that is kept, or with events to come."""

Refused = Literal["unknown", "taken"]
"""Why a receiver does not get another name: the roster does not have it, or has a receiver of the
other name."""

NEW_GROUP = 60.0
"""Seconds after its first receiver was listed for which a group is new: its other programs may
start a little later."""


@dataclass(frozen=True, slots=True)
class Enlisted:
    """Name a receiver that a program has.

    Attributes:
        name: the durable name.
        signals: what the receiver subscribes to, as `accounts.User.post_save`.
        start: where the receiver begins if the group does not have it; None: with the oldest kept
            event in a new group, and with events to come in any other group.
    """

    name: str
    signals: tuple[str, ...]
    start: Start | None = None


# A receiver that was forgotten stays listed: workers learn from the list what to forget.
@dataclass(frozen=True, slots=True)
class Listed:
    """Describe a receiver of a group.

    Attributes:
        signals: what the receiver subscribes to, as `accounts.User.post_save`.
        start: where the receiver began.
        since: when the receiver was listed, in seconds since 1970 by the broker's clock.
        seen: when a program had the receiver, the last time.
        forgotten: whether the group does not wait for the receiver any more.
    """

    signals: tuple[str, ...]
    start: Start
    since: float
    seen: float
    forgotten: bool = False

    @property
    def models(self) -> frozenset[str]:
        """Return the models with their services: `accounts.User`."""
        return frozenset(signal.rpartition(".")[0] for signal in self.signals)


@dataclass(frozen=True, slots=True)
class Roster:
    """List the receivers of a group, also those that were forgotten.

    Attributes:
        now: the time of the broker's clock, in seconds since 1970.
        version: another text after each change of the list; empty for a group without a list.
        added: the receivers that the call has listed.
        dropped: the receivers that the call has forgotten, because no program had them for long.
    """

    receivers: Mapping[str, Listed]
    now: float
    version: str = ""
    added: Sequence[str] = field(default_factory=tuple)
    dropped: Sequence[str] = field(default_factory=tuple)


class Rostering(ABC):
    """Keep the roster of each group. Needs no lease."""

    @abstractmethod
    async def enlist(
        self, group: str, receivers: Sequence[Enlisted], forget_after: float, *, begins: bool
    ) -> Roster:
        """List the receivers that a program has as seen now, and return the roster.

        A receiver that no program had for `forget_after` seconds is forgotten; a program that has
        it again lists it anew. With `begins`, when the program starts, the roster takes over the
        program's signals.

        Works on a broker that is full.
        """

    @abstractmethod
    async def roster(self, group: str) -> Roster:
        """Return the roster of a group."""

    @abstractmethod
    async def dismiss(self, group: str, receiver: str) -> bool:
        """Forget a receiver. Return False if the roster does not have it."""

    @abstractmethod
    async def rename(self, group: str, receiver: str, name: str) -> Refused | None:
        """Let a receiver be known by another name as well; by its own name: by no other any more.

        The receiver is listed as before. Programs that start look up the names of their receivers
        (`names`).

        Returns:
            Why the name was refused; None if the receiver has it.
        """

    @abstractmethod
    async def names(self, group: str) -> Mapping[str, str]:
        """Return the other names of receivers, and the names by which the roster has them."""

    @abstractmethod
    async def disband(self, group: str) -> None:
        """Remove roster, names, pauses and open breakers of a group that does not come back."""
