"""Shows probes the life of a program: in its health file, and to its HTTP server."""

from pathlib import Path

from edgy_bus import telemetry
from edgy_bus.cli.health_file import write
from edgy_bus.health import Pulse
from edgy_bus.telemetry import catalogue


class Life:
    """Notes the progress of a program, and writes its health file, if there is one.

    A file that cannot be written ends nothing: the probe fails, and the reason is reported once.

    Args:
        path: the file; None writes nothing.

    Attributes:
        path: the file.
        pulse: the progress, for the HTTP server.
    """

    def __init__(self, path: Path | None) -> None:
        self.pulse = Pulse()
        self.path = path
        self._is_failing = False

    def progress(self, *, is_ready: bool = False) -> None:
        """Show that the program makes progress. The first call says whether this is possible.

        Args:
            is_ready: whether the program has worked since its start; True lasts.
        """
        self.pulse.beat(is_ready=is_ready)
        if self.path is None:
            return
        try:
            write(self.path, is_ready=self.pulse.is_ready)
        except OSError as error:
            # Never raised: a file for probes is no reason to stop handling events.
            self._report(self.path, error)
        else:
            if self._is_failing:
                telemetry.emit(catalogue.HealthFileWritten(path=str(self.path)))
            self._is_failing = False

    def _report(self, path: Path, error: OSError) -> None:
        # Once: the next attempt follows in two seconds, and the disk may be full for hours.
        if not self._is_failing:
            reason = error.strerror or type(error).__name__
            telemetry.emit(catalogue.HealthFileFailed(path=str(path), error=reason))
        self._is_failing = True
