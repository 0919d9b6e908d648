"""Follow the pauses of a group and of its receivers, which operators make and end."""

from collections.abc import Mapping
from datetime import UTC, datetime

from edgy_bus import telemetry
from edgy_bus.brokers.base import Members, Pause
from edgy_bus.telemetry import catalogue


class Pauses:
    """Keep the pauses as the last round has seen them, and report each change.

    Attributes:
        receivers: the names of the receivers that are paused.
    """

    def __init__(self, group: str) -> None:
        self.receivers: frozenset[str] = frozenset()
        self._group = group
        self._pause: Pause | None = None
        self._paused: Mapping[str, Pause] = {}

    @property
    def hold_group(self) -> bool:
        """Return whether the group is paused."""
        return self._pause is not None

    def note(self, members: Members) -> None:
        """Take note of the pauses that the broker has answered."""
        self._report_group(members.pause)
        self._report_receivers(members.paused)
        self._pause, self._paused = members.pause, members.paused
        self.receivers = frozenset(members.paused)

    def _report_group(self, pause: Pause | None) -> None:
        if pause is not None and pause != self._pause:
            until = _in_text(pause)
            telemetry.emit(catalogue.GroupPaused(group=self._group, until=until, note=pause.note))
        elif pause is None and self._pause is not None:
            telemetry.emit(catalogue.GroupResumed(group=self._group))

    def _report_receivers(self, paused: Mapping[str, Pause]) -> None:
        for name, pause in paused.items():
            if pause != self._paused.get(name):
                until = _in_text(pause)
                telemetry.emit(
                    catalogue.ReceiverPaused(
                        group=self._group, receiver=name, until=until, note=pause.note
                    )
                )
        for name in self._paused.keys() - paused.keys():
            telemetry.emit(catalogue.ReceiverResumed(group=self._group, receiver=name))


def _in_text(pause: Pause) -> str | None:
    """Return the end of a pause in UTC; None for a pause without an end."""
    if pause.until is None:
        return None
    return datetime.fromtimestamp(pause.until, UTC).isoformat(timespec="seconds")
