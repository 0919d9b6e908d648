"""Planted bugs of the keeper of leases: each lacks one defence. `bugs.BUGS` names them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgy_bus.runtime import keeper
from edgy_bus.runtime.hosts import InTask
from edgy_bus.runtime.keeper import Keeper
from edgy_bus.runtime.keeping import Limits, LoopWatch, Renewing
from edgy_bus.runtime.leases import LeaseRenewal, Membership
from edgy_bus.runtime.tenure import Tenure
from tests.simulation import world

Patch = tuple[Any, str, Any]

_is_due = keeper.is_due
_wake = Keeper._wake


def _renews_for_ever(renewing: Renewing, watch: LoopWatch, limits: Limits) -> bool:
    return _is_due(renewing, replace(watch, beat=watch.looked), limits)


def _counts_from_the_last_renewal(renewing: Renewing, watch: LoopWatch, limits: Limits) -> bool:
    return _is_due(renewing, replace(watch, beat=max(watch.beat, renewing.asked)), limits)


def _wakes_nobody(self: Any, function: Callable[[], None]) -> None:
    if function == self._answer:
        _wake(self, function)


async def _joins_nothing(self: Any, membership: Membership, asked: float) -> None:
    return None


KEEPER: dict[str, Patch] = {
    "leases are renewed by the loop that receivers block": (world, "InSimulatedThread", InTask),
    "a timer ends a tenure without reading the limit again": (
        Tenure,
        "_check_limit",
        Tenure.lose,
    ),
    "a loop that is blocked keeps its leases for ever": (keeper, "is_due", _renews_for_ever),
    "the time of a block counts from the last renewal": (
        keeper,
        "is_due",
        _counts_from_the_last_renewal,
    ),
    "a refused renewal wakes nobody": (Keeper, "_wake", _wakes_nobody),
    "a worker that is blocked is no member": (LeaseRenewal, "_join", _joins_nothing),
}
"""Name to the object, the attribute and what takes its place."""

LEASE_FAULTS: dict[str, tuple[str, ...]] = {
    "a refused renewal wakes nobody": ("failover", "flush"),
}
"""The faults besides a blocked loop under which a bug matters."""
