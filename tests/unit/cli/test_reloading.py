"""A worker that begins anew when a file changes: processes of a small command, real files."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from edgy_bus import telemetry
from edgy_bus.cli.reloading import changes_below, reload
from edgy_bus.cli.running import Stop
from edgy_bus.cli.watch import Watch
from edgy_bus.cli.worker import WorkerCall, work
from edgy_bus.errors import ConfigurationError
from edgy_bus.telemetry import Notice, catalogue
from tests.support import eventually


class Program:
    """A program that notes each start, and then waits, or ends with a status."""

    def __init__(self, folder: Path) -> None:
        self._starts, self._status = folder / "starts", folder / "status"
        self.runs_on()
        text = (
            "import sys, time\n"
            f"open({str(self._starts)!r}, 'a').write('.')\n"
            f"status = open({str(self._status)!r}).read()\n"
            "sys.exit(int(status)) if status else time.sleep(60)\n"
        )
        self.words = [sys.executable, "-c", text]

    def runs_on(self) -> None:
        self._status.write_text("")

    def fails(self) -> None:
        self._status.write_text("3")

    @property
    def starts(self) -> int:
        return len(self._starts.read_text()) if self._starts.exists() else 0


class Edits:
    """Changes that the test makes."""

    def __init__(self) -> None:
        self._made: asyncio.Queue[str] = asyncio.Queue()

    def make(self) -> None:
        self._made.put_nowait("app.py")

    async def __call__(self, stop: asyncio.Event) -> AsyncIterator[Sequence[str]]:
        ended = asyncio.create_task(stop.wait())
        while not stop.is_set():
            made = asyncio.create_task(self._made.get())
            await asyncio.wait((ended, made), return_when=asyncio.FIRST_COMPLETED)
            if made.done():
                yield [made.result()]
            made.cancel()


async def test_each_change_begins_the_program_anew(tmp_path: Path, watch: Watch) -> None:
    program, edits, stop = Program(tmp_path), Edits(), Stop(watch)
    running = asyncio.create_task(reload(program.words, edits, stop))
    for starts in (1, 2, 3):
        await eventually(lambda: program.starts == starts)  # noqa: B023 - awaited in this turn
        edits.make()
    await eventually(lambda: program.starts == 4)
    stop.asked.set()
    await running


async def test_a_program_that_ends_by_itself_waits_for_a_change(
    tmp_path: Path, watch: Watch
) -> None:
    notices: list[Notice] = []
    stop_listening = telemetry.listen(notices.append)
    program, edits, stop = Program(tmp_path), Edits(), Stop(watch)
    program.fails()
    running = asyncio.create_task(reload(program.words, edits, stop))
    await eventually(lambda: catalogue.ProgramWaits(status=3) in notices)
    program.runs_on()
    await asyncio.sleep(0.1)  # where it did not wait, it would begin now
    assert program.starts == 1
    edits.make()
    await eventually(lambda: program.starts == 2)
    stop.asked.set()
    await running
    stop_listening()


async def test_a_program_that_waits_for_a_change_can_be_stopped(
    tmp_path: Path, watch: Watch
) -> None:
    program, stop = Program(tmp_path), Stop(watch)
    program.fails()
    running = asyncio.create_task(reload(program.words, Edits(), stop))
    await eventually(lambda: program.starts == 1)
    stop.asked.set()
    async with asyncio.timeout(10):
        await running


async def test_python_files_are_watched_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    stop = asyncio.Event()
    seen: list[str] = []

    async def watch() -> None:
        async for files in changes_below(tmp_path)(stop):
            seen.extend(Path(file).name for file in files)

    watching = asyncio.create_task(watch())

    async def first_is_seen() -> bool:
        # The watch begins some time after the task does.
        (tmp_path / "first.py").write_text("")
        return "first.py" in seen

    await eventually(first_is_seen)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "shop" / "models.py").write_text("")
    await eventually(lambda: "models.py" in seen)
    assert "notes.txt" not in seen
    stop.set()
    await watching


def test_several_processes_are_refused() -> None:
    call = WorkerCall(
        target="app:bus",
        groups=None,
        modules=[],
        concurrency=None,
        processes=2,
        health_file=None,
        http=None,
        verbose=False,
        reload=True,
    )
    with pytest.raises(ConfigurationError, match="--reload runs one process"):
        work(call)
