"""The watch over signals: its last words, and what a child of a fork inherits."""

import signal
import subprocess
import sys

from edgy_bus.cli.watch import Watch


def test_the_last_words_that_were_given_last_come_first(watch: Watch) -> None:
    said: list[str] = []
    watch.before_leaving(lambda reason: said.append(f"report: {reason}"))
    watch.before_leaving(lambda reason: said.append(f"kill: {reason}"))
    watch._say_last_words("over")
    assert said == ["kill: over", "report: over"]


def handlers_after_forgetting(watch: Watch) -> list[object]:
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    descriptor = signal.set_wakeup_fd(-1)
    try:
        signal.signal(signal.SIGINT, watch._on_signal)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by the application
        watch._forget()
        return [signal.getsignal(number) for number in former]
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)


def test_a_child_of_a_fork_keeps_the_handlers_of_the_application(watch: Watch) -> None:
    assert handlers_after_forgetting(watch) == [signal.default_int_handler, signal.SIG_IGN]


SUPERVISOR = """
import asyncio, os, signal, time
from edgy_bus.cli.running import Stop, run

async def main(stop: Stop) -> None:
    loop, processes_died = asyncio.get_running_loop(), asyncio.Event()

    def kill(reason: str) -> None:
        loop.call_soon_threadsafe(processes_died.set)
        time.sleep(0.5)  # a slow report: the program ends by itself meanwhile

    stop.before_leaving(kill)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
    await processes_died.wait()

run(main)
"""


def test_a_program_that_its_last_words_end_has_the_status_of_the_signal() -> None:
    words = [sys.executable, "-c", SUPERVISOR]
    ended = subprocess.run(words, check=False, capture_output=True, timeout=20)
    assert ended.returncode == 128 + signal.SIGINT, ended.stderr
