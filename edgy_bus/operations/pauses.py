"""Pauses: the workers of a group begin no call until an operator resumes the group."""

from dataclasses import dataclass

from edgy_bus.brokers.base import ActionEntry, Broker
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.groups import require_group

LONGEST_NOTE = 200
"""Characters of a note, which every worker reads in every round."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A group whose workers begin no call."""

    group: str
    until: float | None
    """Seconds since 1970 by the broker's clock; None: until the group is resumed."""
    note: str
    workers: int
    """Workers that were alive when the group was paused."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A group whose workers begin calls again."""

    group: str
    was_paused: bool


async def pause(
    broker: Broker,
    group: str,
    *,
    seconds: float | None,
    reason: str | None = None,
    by: str | None = None,
) -> Paused:
    """Pause a group, in place of an earlier pause. Calls that run finish.

    Workers learn of a pause within a second, also workers that begin later. Workers of releases
    before pauses go on. Streams keep what the group has not finished.

    Args:
        broker: the broker.
        group: a group that has workers, or that has read a stream.
        seconds: how long the pause lasts; None: until `resume`.
        reason: the reason, for the note of the pause, of which 200 characters are kept.
        by: the operator; by default EDGY_BUS_OPERATOR, or the user and the host.

    Raises:
        ConfigurationError: if there is no such group.
    """
    operator = operator_name(by)
    note = operator if reason is None else f"{operator}: {reason}"
    # The note is for every worker and every view of the group, the log for the history.
    lasting = "until it is resumed" if seconds is None else f"for {seconds:.0f} s"
    entry = ActionEntry(
        operator, "pause", group, choice=lasting if reason is None else f"{lasting}: {reason}"
    )
    return await recorded(
        broker,
        entry,
        _pause(broker, group, seconds, note[:LONGEST_NOTE]),
        lambda paused: Outcome(paused.workers, f"paused {paused.workers} workers"),
    )


async def resume(broker: Broker, group: str, *, by: str | None = None) -> Resumed:
    """End the pause of a group; `by` as for `pause`."""
    return await recorded(
        broker,
        ActionEntry(operator_name(by), "resume", group),
        _resume(broker, group),
        lambda resumed: Outcome(
            int(resumed.was_paused), "resumed" if resumed.was_paused else "was not paused"
        ),
    )


async def _pause(broker: Broker, group: str, seconds: float | None, note: str) -> Paused:
    # A group that has workers and has read nothing yet is no mistake.
    workers = (await broker.members(group)).alive
    if not workers:
        await require_group(broker, group)
    made = await broker.pause(group, seconds, note)
    return Paused(group, made.until, made.note, len(workers))


async def _resume(broker: Broker, group: str) -> Resumed:
    return Resumed(group, await broker.resume(group))
