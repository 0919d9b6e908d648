"""Decide what a signal means for a program: nothing, an end in order, or an end at once.

Pure: no clock, no process.
"""

import signal
from dataclasses import dataclass, replace
from enum import Enum

REPEATED = 0.25
"""Seconds in which a second Ctrl-C is the first one again: a terminal sends the signal to every
process, and a parent (`uv run`, `npm run`) passes its own signal on."""


class Step(Enum):
    """The answer to a signal."""

    NOTHING = "nothing"
    ASK = "ask"
    """Ask the event loop to end the program in order."""
    LEAVE = "leave"
    """End the process at once."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of the end of a program.

    A program that has no event loop yet holds nothing, and is ended at once. Afterwards the first
    signal asks for an end in order, which has a time limit; a later Ctrl-C ends the process. A
    later SIGTERM changes nothing: supervisors repeat their signals, and have SIGKILL.
    """

    patience: float | None = None
    """Seconds from the first signal to the end of the process; None before there is a loop."""
    asked: float | None = None
    """When the first signal arrived."""
    deadline: float | None = None
    """When the process is ended, no matter what still runs."""

    def received(self, number: int, now: float) -> "tuple[Ending, Step]":
        """Return the state after a signal, and the answer to the signal."""
        # Modules are being imported: nothing is connected, and nobody could answer.
        if self.patience is None:
            return self, Step.LEAVE
        if self.asked is None:
            # A program that was ending anyway has its time limit already.
            limit = now + self.patience if self.deadline is None else self.deadline
            return replace(self, asked=now, deadline=limit), Step.ASK
        if number == signal.SIGINT and now - self.asked >= REPEATED:
            return self, Step.LEAVE
        return self, Step.NOTHING

    def is_over(self, now: float) -> bool:
        """Return whether the time limit is over."""
        return self.deadline is not None and now >= self.deadline

    def wait(self, now: float) -> float | None:
        """Return the seconds until the time limit; None without a limit."""
        return None if self.deadline is None else max(0.0, self.deadline - now)

    def with_patience(self, patience: float) -> "Ending":
        """Return the state of a program whose end in order may take `patience` seconds."""
        return replace(self, patience=patience)

    def ending(self, now: float, within: float) -> "Ending":
        """Return the state of a program that ends by itself, in so many seconds at most."""
        limit = now + within
        return replace(self, deadline=limit if self.deadline is None else min(limit, self.deadline))
