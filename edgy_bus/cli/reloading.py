"""`edgy-bus worker --reload`: one worker process, begun anew when a Python file changes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from edgy_bus import telemetry
from edgy_bus.cli.child import Child
from edgy_bus.cli.running import MARGIN, Stop
from edgy_bus.errors import ConfigurationError
from edgy_bus.telemetry import catalogue

_GRACE = 3.0
"""Seconds that running receivers have before a changed program begins."""

Changes = Callable[[asyncio.Event], AsyncIterator[Sequence[str]]]
"""Yields the files of each change, until the event is set."""


def changes_below(folder: Path) -> Changes:
    """Return the changes of the Python files below a folder.

    Raises:
        ConfigurationError: if the package that watches files is not installed.
    """
    # Not at the top: only developers have and load this package.
    try:
        from watchfiles import PythonFilter, awatch
    except ModuleNotFoundError as error:
        if error.name != "watchfiles":
            raise
        raise ConfigurationError(
            "--reload needs the package watchfiles, which is not installed: "
            "pip install 'edgy_bus[reload]'"
        ) from None

    async def watch(stop: asyncio.Event) -> AsyncIterator[Sequence[str]]:
        async for changes in awatch(folder, watch_filter=PythonFilter(), stop_event=stop):
            yield sorted({path for _, path in changes})

    return watch


async def reload(words: Sequence[str], changes: Changes, stop: Stop) -> None:
    """Run a command, and begin anew at each change, until the program is stopped.

    A program that ends by itself, for example at a mistake in the code, waits for the next change.

    Args:
        words: the command.
        changes: the changes to begin anew at.
        stop: ends the program; an end at once kills the process.
    """
    await _Reloading(words, stop).run(changes)


class _Reloading:
    def __init__(self, words: Sequence[str], stop: Stop) -> None:
        self._words = words
        self._stop = stop
        self._changed = asyncio.Event()
        self._child: Child | None = None

    async def run(self, changes: Changes) -> None:
        self._stop.before_leaving(self._leave)
        self._stop.may_take(_GRACE + MARGIN)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(changes))
            while not self._stop.asked.is_set():
                # Before the start: a change while the program is imported counts.
                self._changed.clear()
                await self._live()

    async def _watch(self, changes: Changes) -> None:
        async for files in changes(self._stop.asked):
            telemetry.emit(catalogue.ProgramChanged(files=files))
            self._changed.set()

    async def _live(self) -> None:
        """Run the program until a change, or until the program is stopped."""
        child = self._child = await Child.start(self._words, {})
        over = [asyncio.create_task(event.wait()) for event in (self._changed, self._stop.asked)]
        try:
            await asyncio.wait((child.ended, *over), return_when=asyncio.FIRST_COMPLETED)
            if child.ended.done():
                telemetry.emit(catalogue.ProgramWaits(status=child.ended.result()))
                # Not begun anew at once: the same mistake would end the program again and again.
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            else:
                await child.end(_GRACE)
        finally:
            # Also when this task is cancelled: no process may outlive the program.
            child.kill()
            for task in over:
                task.cancel()
        await child.ended

    def _leave(self, _: str) -> None:
        if self._child is not None:
            self._child.kill_from_thread()
