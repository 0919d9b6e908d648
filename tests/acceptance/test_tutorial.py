"""Follow the tutorial: write its files, run its commands in real programs, compare what is printed.

A block of Python begins with the name of its file. In a block of a console, `$ …` is a command and
`relay$ …` starts a program in a terminal of its own, which `relay$ ^C` interrupts. The lines below
a command are its output. A block of text is what the worker prints. Times, ids and sizes are
compared by their form.
"""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.programs import PATIENCE, Program, program

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")
BLOCK = re.compile(r"^```(python|console|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^(\w*)\$ (.*)$", re.MULTILINE)

EVENT = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
FORMS = {
    "EVENT": EVENT,
    "TIME": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:Z|\.\d+\+00:00)",
    "ENTRY": r"\d{13}-\d+",
    "PARTITION": r"(?<=shop\.Order)[:/]\d+",
    "HASH": r"\b[0-9a-f]{8,16}\b",
    "HOST": r"(?<=at )\S+:\d+",
    "SIZE": r"[\d,]+ (?:bytes|entries)",
}
"""What differs in every run, by its form."""


class Step(NamedTuple):
    """A command in a terminal, or a file to write, and the output that follows."""

    kind: str
    command: str
    output: str


def steps() -> Iterator[Step]:
    """Yield the steps of the page in their order."""
    for block in BLOCK.finditer(PAGE):
        language, text = block[1], block[2]
        if language == "python":
            yield Step("file", text.partition("\n")[0].removeprefix("# "), text)
        elif language == "text":
            yield Step("prints", "worker", text)
        else:
            prompts = [*PROMPT.finditer(text)]
            ends = [prompt.start() for prompt in prompts[1:]] + [len(text)]
            for prompt, end in zip(prompts, ends, strict=True):
                yield Step(prompt[1] or "here", prompt[2], text[prompt.end() + 1 : end])


def form(output: str) -> list[list[str]]:
    """Return the words of each line, with the names of forms in place of what differs."""
    for name, pattern in FORMS.items():
        output = re.sub(pattern, name, output)
    return [line.split() for line in output.splitlines() if line.strip()]


class Reader:
    """A reader who follows the page in a folder."""

    def __init__(self, folder: Path, redis_url: str, prefix: str, stack: ExitStack) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._prefix = prefix
        self._stack = stack
        self._terminals: dict[str, Program] = {}
        self._event = ""

    def follow(self, step: Step) -> None:
        if step.kind == "file":
            self._write(step.command, step.output)
        elif step.kind == "here":
            self._run(step.command, step.output)
        elif step.command == "^C":
            stopped = self._terminals.pop(step.kind)
            stopped.process.send_signal(signal.SIGINT)
            assert stopped.process.wait(PATIENCE) in (0, 130), stopped.output
        else:
            if step.kind != "prints":
                self._start(step.kind, step.command)
            terminal = self._terminals[step.command if step.kind == "prints" else step.kind]
            for line in step.output.splitlines():
                terminal.wait_for_output(line)

    def _write(self, name: str, text: str) -> None:
        own, count = re.subn(r'service="(\w+)"', rf'service="\1", prefix="{self._prefix}"', text)
        assert count == 1
        (self._folder / name).write_text(own.replace("redis://localhost:6379", self._redis_url))

    def _start(self, terminal: str, command: str) -> None:
        assert terminal not in self._terminals, f"the page has not stopped the {terminal}"
        words = shlex.split(command)
        assert words[0] == "edgy-bus"
        begun = program(*words[1:], folder=self._folder)
        self._terminals[terminal] = self._stack.enter_context(begun)

    def _run(self, command: str, expected: str) -> None:
        # Ids in a command are those that the commands before have printed.
        words = shlex.split(re.sub(EVENT, self._event, command))
        runner = [sys.executable, "-m", "edgy_bus"] if words[0] == "edgy-bus" else [sys.executable]
        is_view = "replay" not in words and words[0] == "edgy-bus"
        deadline = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                [*runner, *words[1:]],
                cwd=self._folder,
                env={**os.environ, "COLUMNS": "400"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            is_right = form(done.stdout) == form(expected)
            if is_right or not is_view or time.monotonic() > deadline:
                break
        assert is_right, f"{command}\n{done.stdout}{done.stderr}\nis not\n{expected}"
        # A view that has something to report ends with 1.
        assert done.returncode in ((0, 1) if is_view else (0,))
        for match in re.finditer(EVENT, done.stdout):
            self._event = match[0]


def test_the_page_breaks_a_receiver_and_replays_its_letter() -> None:
    commands = [step.command for step in steps()]
    for part in ("worker", "dead list", "dead replay", "status", "trace"):
        assert any(part in command for command in commands)


@pytest.mark.timeout(600)
async def test_every_step_does_what_the_page_says(
    tmp_path: Path, redis_url: str, prefix: str
) -> None:
    with ExitStack() as stack:
        reader = Reader(tmp_path, redis_url, prefix, stack)
        for step in steps():
            await asyncio.to_thread(reader.follow, step)
