"""The last day: what workers have done, in even steps, and when versions changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from edgy_bus.brokers.base import MINUTES, Broker, History, Tally

STEP = 5
"""Minutes of a step."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the workers of a group did in some minutes, the first of which begins at `at`."""

    at: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class VersionChange:
    """When a worker with another version than the worker before began."""

    at: datetime
    version: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class WorkHistory:
    """The last day of a group, or of all groups together.

    Attributes:
        steps: all steps of the day, oldest first; the last is not over.
        versions: the changes of the version in that time, oldest first.
        minutes: the minutes of a step.
    """

    steps: tuple[Step, ...]
    versions: tuple[VersionChange, ...]
    minutes: int = STEP

    @property
    def day(self) -> Tally:
        """Return the tally of the whole day."""
        return _sum(step.tally for step in self.steps)

    @property
    def hour(self) -> Tally:
        """Return the tally of about the last hour."""
        return _sum(step.tally for step in self.steps[-60 // self.minutes :])


async def history(broker: Broker, group: str) -> WorkHistory:
    """Return the last day of a group. Only reads."""
    return in_steps(await broker.history(group), group)


async def history_of_all(broker: Broker, groups: Iterable[str]) -> WorkHistory:
    """Return the last day of several groups together. Only reads."""
    steps: dict[datetime, Tally] = {}
    versions: list[VersionChange] = []
    # One after another, and only sums stay: a history of a group has 1,440 minutes.
    for name in groups:
        past = await history(broker, name)
        versions += past.versions
        for step in past.steps:
            steps[step.at] = steps.get(step.at, Tally()).plus(step.tally)
    if not steps:
        return in_steps(History((await broker.facts()).now, {}, ()))
    # Between two groups, another step may have begun.
    newest = sorted(steps)[-MINUTES // STEP :]
    versions.sort(key=lambda each: (each.at, each.group))
    return WorkHistory(
        tuple(Step(at, steps[at]) for at in newest),
        tuple(each for each in versions if each.at >= newest[0]),
    )


def in_steps(past: History, group: str = "") -> WorkHistory:
    """Return the minutes of a history in steps."""
    # Steps begin at full multiples, so that a step has the same minutes at each look.
    last = int(past.now // 60) // STEP
    first = last - MINUTES // STEP + 1
    tallies = dict.fromkeys(range(first, last + 1), Tally())
    for minute, tally in past.minutes.items():
        if minute // STEP in tallies:
            tallies[minute // STEP] = tallies[minute // STEP].plus(tally)
    seconds = STEP * 60
    steps = tuple(Step(_moment(number * seconds), tally) for number, tally in tallies.items())
    versions = (VersionChange(_moment(began), version, group) for began, version in past.versions)
    begin = steps[0].at
    return WorkHistory(steps, tuple(each for each in versions if each.at >= begin))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total = total.plus(tally)
    return total
