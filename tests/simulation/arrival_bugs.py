"""What handing a partition over, and slots of receivers, would do without their mechanisms."""

import math
from dataclasses import replace
from typing import Any

from edgy_bus.runtime import handover
from edgy_bus.runtime.handover import Handover, Phase
from edgy_bus.runtime.stalled import Stalled
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.runtime.term import Term


def _never_again(state: Handover, now: float) -> Handover:
    return replace(state, phase=Phase.TAKEN_BACK, until=math.inf)


def _never_the_last(state: Handover, now: float) -> Handover:
    return Handover(Phase.TAKEN_BACK, now + handover.BETWEEN, 0)


def _begins_all_the_same(self: Any, begins: bool) -> None:
    return None


def _cancelled(self: Any, wanted: bool) -> None:
    if wanted:
        self.finish(0.0)


def _dropped(self: Any, receiver: str) -> None:
    return None


Patch = tuple[Any, str, Any]

PATCHES: dict[str, Patch] = {
    "an offer that was taken back is not repeated": (handover, "_end_offer", _never_again),
    "no offer is the last": (handover, "_end_offer", _never_the_last),
    "calls begin while a partition is offered": (Term, "let_begin", _begins_all_the_same),
    "the arrival of a worker cancels calls": (Tenure, "hand_over", _cancelled),
    "work that waits for a slot is never called": (Stalled, "_admit", _dropped),
}
