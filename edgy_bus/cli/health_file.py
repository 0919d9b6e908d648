"""The file through which a program shows probes that it makes progress.

The time of the file is the time of the last progress. Its text says whether the program has worked
since its start. Both texts have one length, so that a program never has to empty the file, and a
probe never reads half a text.
"""

import os
from dataclasses import dataclass
from pathlib import Path

STARTING = b"start\n"
READY = b"ready\n"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a health file says."""

    written: float
    """The time of the last progress, in seconds of the system's clock."""
    is_ready: bool


def read(file: Path) -> Reading:
    """Read a health file.

    Raises:
        OSError: if there is no such file, or no right to read the file.
    """
    with file.open("rb") as opened:
        written = os.fstat(opened.fileno()).st_mtime
        return Reading(written, opened.read(len(READY)) == READY)


def write(file: Path, *, is_ready: bool) -> None:
    """Write a health file with the present time.

    Raises:
        OSError: if the file cannot be written.
    """
    # Not emptied first: a probe would take a program for one that starts.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, READY if is_ready else STARTING)
        # A former program, of another kind perhaps, may have left a longer text.
        os.ftruncate(descriptor, len(READY))
    finally:
        os.close(descriptor)
