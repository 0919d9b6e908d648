"""Shows probes the life of a program, in its health file."""

from pathlib import Path

from edgy_bus import telemetry
from edgy_bus.cli.health_file import write
from edgy_bus.telemetry import catalogue


class Life:
    """Writes the health file of a program, if there is one.

    A file that cannot be written ends nothing: the probe fails, and the reason is reported once.

    Args:
        path: the file; None writes nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._is_ready = False
        self._is_failing = False

    def progress(self, *, is_ready: bool = False) -> None:
        """Show that the program makes progress. The first call says whether this is possible.

        Args:
            is_ready: whether the program has worked since its start; True lasts.
        """
        self._is_ready = self._is_ready or is_ready
        if self._path is None:
            return
        try:
            write(self._path, is_ready=self._is_ready)
        except OSError as error:
            # Never raised: a file for probes is no reason to stop handling events.
            self._report(self._path, error)
        else:
            if self._is_failing:
                telemetry.emit(catalogue.HealthFileWritten(path=str(self._path)))
            self._is_failing = False

    def _report(self, path: Path, error: OSError) -> None:
        # Once: the next attempt follows in two seconds, and the disk may be full for hours.
        if not self._is_failing:
            reason = error.strerror or type(error).__name__
            telemetry.emit(catalogue.HealthFileFailed(path=str(path), error=reason))
        self._is_failing = True
