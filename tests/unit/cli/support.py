"""Run commands as a shell does, and see what they answer."""

import asyncio
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.cli import main

Ended = tuple[Any, str, str]
"""The exit status of a command, its output, and its errors."""


def prepare_outbox(bus: edgy.Bus) -> None:
    """Make the tables of the bus's outbox, as the first start of the service does."""
    assert bus.wiring.parts is not None
    (store,) = bus.wiring.parts.outboxes

    async def prepare() -> None:
        async with store.database:
            await store.prepare()

    asyncio.run(prepare())


def run_words(capsys: pytest.CaptureFixture[str], *words: str) -> Ended:
    """Run a command line."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


def run(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> Ended:
    """Run a command on `program:bus`."""
    return run_words(capsys, command, "program:bus", *words)
