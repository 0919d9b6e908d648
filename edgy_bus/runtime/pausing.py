"""Follow the pause of a group, which operators make and end."""

from datetime import UTC, datetime

from edgy_bus import telemetry
from edgy_bus.brokers.base import Pause
from edgy_bus.telemetry import catalogue


class GroupPause:
    """Keep the pause of a group as the last round has seen it, and report each change."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._pause: Pause | None = None

    @property
    def holds(self) -> bool:
        """Return whether the group is paused."""
        return self._pause is not None

    def note(self, pause: Pause | None) -> None:
        """Take note of the pause that the broker has answered; None without one."""
        before, self._pause = self._pause, pause
        if pause is not None and pause != before:
            ends = None if pause.until is None else datetime.fromtimestamp(pause.until, UTC)
            until = None if ends is None else ends.isoformat(timespec="seconds")
            telemetry.emit(catalogue.GroupPaused(group=self._group, until=until, note=pause.note))
        elif pause is None and before is not None:
            telemetry.emit(catalogue.GroupResumed(group=self._group))
