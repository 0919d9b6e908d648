"""Streams that cannot be used at the moment: each is left alone for a growing pause.

One stream's error must not hold up other streams: a key of another type, a key that an ACL forbids,
a script that fails on the stream's content, a number in the stream that the database cannot store.
An outage of the broker or of the database is no trouble of a stream.
"""

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgy_bus import telemetry
from edgy_bus.errors import BrokerError, BrokerUnavailable, DatabaseError, DatabaseUnavailable
from edgy_bus.events import Partition
from edgy_bus.telemetry import catalogue

_FIRST_PAUSE = 0.05


class Work(enum.StrEnum):
    """The work on a stream that failed. A success of the same work ends the trouble."""

    PUBLISHING = "publishing"
    REPAIRING = "repairing"
    TIDYING = "tidying"


@dataclass(frozen=True, slots=True)
class _Trouble:
    error: str
    pause: float
    until: float


class Troubles:
    """The streams in trouble. `clock` returns seconds, `longest` bounds the pause."""

    def __init__(self, clock: Callable[[], float], longest: float) -> None:
        self._clock = clock
        self._longest = longest
        self._troubles: dict[tuple[Partition, Work], _Trouble] = {}

    @contextmanager
    def of(self, partition: Partition, work: Work) -> Iterator[None]:
        """Keep an error of the stream from the caller, and note it. Outages are raised."""
        try:
            yield
        except (BrokerUnavailable, DatabaseUnavailable):
            # Every stream would fail alike: the whole relay pauses instead.
            raise
        except (BrokerError, DatabaseError) as error:
            self._note(partition, work, error)
        else:
            self._clear(partition, work)

    def _note(self, partition: Partition, work: Work, error: Exception) -> None:
        """Leave a stream alone for a while. Reports the error, once until the error changes."""
        # The pause grows over attempts that fail differently as well.
        before = self._troubles.get((partition, work))
        pause = _FIRST_PAUSE if before is None else before.pause * 2
        pause = min(self._longest, pause)
        text = f"{type(error).__name__}: {error}"
        self._troubles[partition, work] = _Trouble(text, pause, self._clock() + pause)
        if before is None or before.error != text:
            telemetry.emit(
                catalogue.StreamFailed(partition=str(partition), work=work.value, error=text)
            )

    def _clear(self, partition: Partition, work: Work) -> None:
        """Note a success. Reports a stream that has no trouble left."""
        if self._troubles.pop((partition, work), None) is None:
            return
        # Another work on the stream may still fail.
        if not any(partition == failed for failed, _ in self._troubles):
            telemetry.emit(catalogue.StreamRecovered(partition=str(partition)))

    def avoided(self, *works: Work) -> set[Partition]:
        """Return the streams that such work leaves alone now."""
        now = self._clock()
        return {
            partition
            for (partition, work), trouble in self._troubles.items()
            if work in works and trouble.until > now
        }
