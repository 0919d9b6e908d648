"""The code and the processor that a run measures."""

import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import edgy_bus


@dataclass(frozen=True)
class Code:
    """Name the measured package and the processor."""

    package: str
    commit: str
    processor: str


def code() -> Code:
    """Return the code of the imported package. Called before a run: files may change meanwhile."""
    folder = Path(edgy_bus.__file__).resolve().parent
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    return Code(str(folder), done.stdout.strip(), processor())


def processor() -> str:
    try:
        names = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
