"""Run commands as a shell does, and see what they answer."""

from typing import Any

import pytest

from edgy_bus.cli import main

Ended = tuple[Any, str, str]
"""The exit status of a command, its output, and its errors."""


def run_words(capsys: pytest.CaptureFixture[str], *words: str) -> Ended:
    """Run a command line."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


def run(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> Ended:
    """Run a command on `program:bus`."""
    return run_words(capsys, command, "program:bus", *words)
