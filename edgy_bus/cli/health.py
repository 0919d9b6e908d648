"""`edgy-bus health FILE`: the answer of a worker or relay to a probe."""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgy_bus.cli.exits import Exit
from edgy_bus.cli.health_file import read
from edgy_bus.health import HEALTH_AGE, complaint


def probe(words: Sequence[str]) -> Exit:
    """Answer the question of `words`, and say on standard error what is wrong."""
    options = _parser().parse_args(words)
    finding = _complaint(options.file, options.max_age, needs_ready=options.ready)
    if finding is None:
        return Exit.FINE
    sys.stderr.write(f"{finding}\n")
    return Exit.FINDING


def _parser() -> argparse.ArgumentParser:
    # Not the parser of the other commands, whose import takes ten times the time of a probe.
    parser = argparse.ArgumentParser(
        prog="edgy-bus health",
        description="Exit with status 0 if the program that writes FILE is well, with 1 if not.",
    )
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="the --health-file of a worker or relay"
    )
    parser.add_argument(
        "--max-age",
        metavar="SECONDS",
        type=_seconds,
        default=HEALTH_AGE,
        help="longest time since the last progress (default: %(default)g)",
    )
    parser.add_argument(
        "--ready",
        action="store_true",
        help="whether the program has also worked once since its start",
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise ValueError(text)
    return seconds


def _complaint(file: Path, max_age: float, *, needs_ready: bool) -> str | None:
    """Return what is wrong with a program; None for a program that is well."""
    try:
        reading = read(file)
    except FileNotFoundError:
        return (
            f"{file} is not there: the worker or relay has not started yet, or writes another file"
        )
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    age = time.time() - reading.written
    return complaint(
        str(file), age, is_ready=reading.is_ready, needs_ready=needs_ready, most=max_age
    )
