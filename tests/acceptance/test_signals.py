"""SIGTERM and Ctrl-C end a program in bounded time, no matter what the program is doing.

The time limits are generous, because tests run beside other work: a signal that is lost costs more
than any of them.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgy_bus.testing.servers import Server
from tests.acceptance.programs import Program, program

PATIENCE = 15.0


def receivers(redis: Server, prefix: str, body: str, **settings: float) -> str:
    """Return a program with a receiver and a publisher of an event, in one process."""
    given = ", ".join(f"{name}={value}" for name, value in settings.items())
    return f"""
import asyncio, os, signal, subprocess, sys, threading, time
import edgy_bus as edgy

database = edgy.Database("sqlite:///rows.sqlite")
bus = edgy.Bus("{redis.url}", service="shop", prefix="{prefix}",
               working=edgy.WorkerSettings({given}))
registry = edgy.Registry(database, bus=bus)
bus.on_start(registry.create_all)

class Row(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    class Meta:
        registry = registry

@bus.on_start
async def publish():
    await Row.query.create()

@edgy.post_save(Row)
async def receive(sender, instance, **kwargs):
    print("begun", flush=True)
{body}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def ends(process: "subprocess.Popen[bytes]", within: float = PATIENCE) -> int:
    """Return the exit status of a process that ends in time."""
    return process.wait(within)


def until_handled(process: Program) -> None:
    """Wait until the process has handlers of its signals, or is about to work."""
    mask_of = f"/proc/{process.process.pid}/status"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        lines = dict(
            line.split(":", 1) for line in Path(mask_of).read_text().splitlines() if ":" in line
        )
        if int(lines["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)
    pytest.fail("no handler of SIGTERM")


# The start


SLOW_IMPORT = """
import time
open("importing", "w").close()
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["worker", "relay"])
def test_a_signal_ends_a_program_that_is_importing(
    folder: Path, command: str, number: signal.Signals
) -> None:
    (folder / "slow.py").write_text(SLOW_IMPORT)
    with program(command, "slow:bus", folder=folder) as one:
        until_handled(one)
        one.process.send_signal(number)
        assert ends(one.process) == 128 + number, one.output
    assert "Traceback" not in one.output


def test_handlers_stand_before_the_bus_is_imported(folder: Path) -> None:
    # The module says who handles SIGTERM at its import, which is before any other import of ours.
    (folder / "app.py").write_text(
        "import signal, sys\n"
        "print('bus' if 'edgy_bus.api' in sys.modules else 'first',\n"
        "      signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, flush=True)\n"
        "raise SystemExit(0)\n"
    )
    with program("worker", "app:bus", folder=folder) as one:
        assert ends(one.process) == 0
    assert one.output.split() == ["first", "True"]


@pytest.fixture
def first_process() -> list[str]:
    """The words before a command that make the command the first process of a container."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which(words[0]) is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("no right to make a namespace of processes")
    return words


@pytest.mark.parametrize("command", ["worker", "relay", "held"])
def test_sigterm_ends_the_first_process_of_a_container(
    folder: Path, first_process: list[str], command: str
) -> None:
    (folder / "slow.py").write_text(
        "import os\nopen('importing', 'w').write(str(os.getpid()))\n" + SLOW_IMPORT[1:]
    )
    outer = subprocess.Popen(
        [*first_process, sys.executable, "-m", "edgy_bus", command, "slow:bus"], cwd=folder
    )
    try:
        until((folder / "importing").exists)
        (inner,) = children_of(outer.pid)
        os.kill(inner, signal.SIGTERM)
        assert ends(outer) == 128 + signal.SIGTERM
    finally:
        outer.kill()
        outer.wait()


def children_of(parent: int) -> list[int]:
    """Return the numbers of the processes that a process has started and that still exist."""
    return [
        int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ]


def until(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


HOOKED = """
import asyncio
import edgy_bus as edgy
bus = edgy.Bus("redis://127.0.0.1:1", service="shop")
registry = edgy.Registry({database!r}, bus=bus)
class Row(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    class Meta:
        registry = registry
@edgy.post_save(Row)
async def receive(sender, instance, **kwargs): ...
{hook}
"""

WAITING_HOOK = """
@bus.on_start
async def hook():
    print("begun", flush=True)
    await asyncio.sleep(60)
"""

STUBBORN_HOOK = """
@bus.on_start
async def hook():
    print("begun", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""

BLOCKING_HOOK = """
@bus.on_start
async def hook():
    import time
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("command", ["worker", "relay"])
@pytest.mark.parametrize(
    ("hook", "status"), [(WAITING_HOOK, 0), (STUBBORN_HOOK, 4), (BLOCKING_HOOK, 4)]
)
def test_sigterm_ends_a_program_whose_hook_runs(
    folder: Path, command: str, hook: str, status: int
) -> None:
    (folder / "app.py").write_text(HOOKED.format(database="sqlite:///a.sqlite", hook=hook))
    with program(command, "app:bus", folder=folder) as one:
        one.wait_for_output("begun")
        one.process.send_signal(signal.SIGTERM)
        assert ends(one.process) == status, one.output
    assert ("program.cut_off" in one.output) is (status == 4)


@pytest.mark.parametrize("command", ["worker", "relay"])
def test_sigterm_ends_a_program_whose_database_hangs(
    folder: Path, command: str, silent_port: int
) -> None:
    database = f"postgresql://nobody@127.0.0.1:{silent_port}/none"
    (folder / "app.py").write_text(HOOKED.format(database=database, hook="print('loaded')"))
    with program(command, "app:bus", folder=folder) as one:
        one.wait_for_output("loaded")
        time.sleep(1)  # it connects now, or is about to: SIGTERM ends both
        one.process.send_signal(signal.SIGTERM)
        assert ends(one.process, 8) in {0, 128 + signal.SIGTERM}, one.output


def test_sigterm_ends_a_worker_whose_redis_hangs(folder: Path, silent_port: int) -> None:
    (folder / "app.py").write_text(
        "import edgy_bus as edgy\n"
        f"bus = edgy.Bus('redis://127.0.0.1:{silent_port}', service='shop')\n"
        "@bus.on_start\nasync def hook(): print('begun', flush=True)\n"
        "@bus.receiver('shop.Row', 'post_save')\nasync def receive(sender, **kwargs): ...\n"
    )
    with program("worker", "app:bus", folder=folder) as one:
        one.wait_for_output("begun")
        one.process.send_signal(signal.SIGTERM)
        assert ends(one.process, 8) == 0, one.output


# The end


BLOCKING = "    time.sleep(60)"
WAITING = "    await asyncio.sleep(60)"
# A driver written in C goes on after a signal, and Python code runs when it returns.
DRIVER = """
    import sqlite3
    sqlite3.connect(":memory:").execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    ).fetchall()
"""
STUBBORN = """    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


@pytest.mark.parametrize("body", [WAITING, BLOCKING, DRIVER, STUBBORN])
def test_the_second_ctrl_c_ends_the_process(
    folder: Path, redis_server: Server, prefix: str, body: str
) -> None:
    (folder / "app.py").write_text(receivers(redis_server, prefix, body))
    with program("worker", "app:bus", folder=folder) as one:
        one.wait_for_output("begun")
        one.process.send_signal(signal.SIGINT)
        time.sleep(0.5)  # so that it counts as another Ctrl-C
        assert one.process.poll() is None
        one.process.send_signal(signal.SIGINT)
        assert ends(one.process, 5) == 130, one.output
    assert "program.cut_off reason='SIGINT asks for the end at once'" in one.output
    if body == BLOCKING:
        assert "app.py" in one.output.partition("program.cut_off")[2]


@pytest.mark.parametrize("body", [BLOCKING, DRIVER, STUBBORN])
def test_a_stop_has_a_time_limit(
    folder: Path, redis_server: Server, prefix: str, body: str
) -> None:
    (folder / "app.py").write_text(receivers(redis_server, prefix, body, grace=0.1))
    with program("worker", "app:bus", folder=folder) as one:
        one.wait_for_output("begun")
        one.process.send_signal(signal.SIGTERM)
        assert ends(one.process) == 4, one.output
    assert "program.cut_off reason='the time to stop is over'" in one.output


def test_a_thread_that_a_receiver_left_keeps_no_process(
    folder: Path, redis_server: Server, prefix: str
) -> None:
    body = "    threading.Thread(target=time.sleep, args=(60,)).start()"
    (folder / "app.py").write_text(receivers(redis_server, prefix, body))
    with program("worker", "app:bus", folder=folder) as one:
        one.wait_for_output("begun")
        one.process.send_signal(signal.SIGTERM)
        assert ends(one.process) == 4, one.output
    assert "worker.stopped" in one.output


def test_a_repeated_sigterm_still_drains(folder: Path, redis_server: Server, prefix: str) -> None:
    body = "    await asyncio.sleep(2)\n    print('finished', flush=True)"
    (folder / "app.py").write_text(receivers(redis_server, prefix, body))
    with program("worker", "app:bus", folder=folder) as one:
        one.wait_for_output("begun")
        for _ in range(3):
            one.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        assert ends(one.process) == 0, one.output
    assert "finished" in one.output


def test_the_second_ctrl_c_ends_the_processes_of_a_supervisor(
    folder: Path, redis_server: Server, prefix: str
) -> None:
    (folder / "app.py").write_text(receivers(redis_server, prefix, WAITING))
    with program("worker", "app:bus", "--processes", "2", folder=folder) as one:
        one.wait_for_output("begun")
        children = children_of(one.process.pid)
        assert len(children) == 2
        one.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        one.process.send_signal(signal.SIGINT)
        assert ends(one.process, 5) == 130, one.output
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def test_signals_of_forked_children_and_of_the_application_are_theirs(
    folder: Path, redis_server: Server, prefix: str
) -> None:
    body = """
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, heard.set)
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.wait_for(heard.wait(), 10)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, b"here")
        time.sleep(60)
        os._exit(3)
    os.read(reader, 4)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    print("child", os.waitstatus_to_exitcode(status), flush=True)
"""
    (folder / "app.py").write_text(receivers(redis_server, prefix, body))
    with program("worker", "app:bus", folder=folder) as one:
        one.wait_for_output("child -15")
        time.sleep(0.5)
        assert "worker.draining" not in one.output
        one.process.send_signal(signal.SIGTERM)
        assert ends(one.process) == 0, one.output
    assert "worker.draining" in one.output
