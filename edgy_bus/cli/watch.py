"""Receive SIGTERM and SIGINT in a thread, so that no blocked event loop delays or loses a signal.

The interpreter runs handlers of signals in the main thread, between two steps of Python code: not
while a receiver waits inside of a driver written in C. The signal itself, however, writes a byte to
the wake-up descriptor at once, and this thread reads the bytes. Blocking the signals and waiting
for them (sigwait) would be simpler, and wrong: programs that a receiver starts would inherit the
blocked signals.
"""

import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from edgy_bus.cli.ending import Ending, Step
from edgy_bus.cli.exits import Exit
from edgy_bus.environment import FOLLOW_STDIN

LastWords = Callable[[str], None]
"""Called with the reason for which the process is ended at once."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_BEFORE: dict[signal.Signals, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
"""The handlers of a process without a watch."""

_CHANGED = b"\0"
"""A byte that no signal writes: the state has changed."""

_LAST_WORDS = 1.0
"""Seconds for the report before the process is ended: the standard error may be blocked too."""


class Watch:
    """The watch over the signals and the end of this process; see `watch`."""

    def __init__(self) -> None:
        self._ending = Ending()
        self._lock = threading.Lock()
        self._ask: Callable[[], None] | None = None
        self._last_words: list[LastWords] = []
        self._is_leaving = False
        # The wake-up descriptor of the event loop, which this watch has replaced.
        self._replaced: int | None = None
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="edgy-bus signals", daemon=True)

    def begin(self) -> None:
        """Receive signals from now on, until the process ends."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        self._take_descriptor()
        # A child of a fork shares the socket: its signals would end the parent.
        os.register_at_fork(after_in_child=self._forget)
        self._thread.start()

    def attach(self, ask: Callable[[], None], patience: float) -> None:
        """Ask for an end in order from now on; call this in the running event loop.

        Args:
            ask: called in the thread of the watch at the first signal.
            patience: see `work`.
        """
        former = self._take_descriptor()
        self._replaced = former if former not in {-1, self._writer.fileno()} else None
        self._ask = ask
        self.work(patience)

    def work(self, patience: float) -> None:
        """Let an end in order take up to `patience` seconds from the first signal."""
        self._change(lambda state: state.with_patience(patience))

    def end(self, within: float) -> None:
        """End the process in `within` seconds, unless it has ended by itself.

        Call this in the event loop, before the loop ends. A thread that a receiver started may run
        on, and the interpreter waits for such threads.

        Race: a supervisor's processes end after the last words, so the supervisor ends by itself,
        and with another status, while the last words are still being said. It waits here instead.
        """
        if self._is_leaving:
            self._thread.join()
        self._replaced = None
        self._change(lambda state: state.ending(time.monotonic(), within))

    def before_leaving(self, last_words: LastWords) -> None:
        """Call `last_words(reason)` in a thread before the process is ended at once.

        The last words that were given last come first. A program gives its report first, and the
        standard error may block the report: a supervisor kills its processes before.
        """
        self._last_words.insert(0, last_words)

    def _change(self, change: Callable[[Ending], Ending]) -> None:
        # The thread of the watch changes the state as well.
        with self._lock:
            self._ending = change(self._ending)
        self._writer.send(_CHANGED)

    def _take_descriptor(self) -> int:
        return signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        # The byte has come here, except where an event loop has taken the descriptor meanwhile.
        owner = self._take_descriptor()
        if owner != self._writer.fileno():
            signal.set_wakeup_fd(owner, warn_on_full_buffer=False)
            self._writer.send(bytes([number]))

    # The thread

    def _run(self) -> NoReturn:
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ, self._read_signals)
            # A supervisor that is killed cannot stop its processes, but its end of the pipe closes.
            if os.environ.get(FOLLOW_STDIN):
                selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
            while True:
                for key, _ in selector.select(self._ending.wait(time.monotonic())):
                    if key.data is not None:
                        key.data()
                    elif not os.read(sys.stdin.fileno(), 1):
                        selector.unregister(key.fileobj)
                        self._receive(signal.SIGTERM)
                if self._ending.is_over(time.monotonic()):
                    self._leave(Exit.CUT_OFF, "the time to stop is over")

    def _read_signals(self) -> None:
        for number in self._reader.recv(4096):
            if number in _SIGNALS:
                self._receive(number)
            if number:
                self._pass_on(number)

    def _receive(self, number: int) -> None:
        with self._lock:
            self._ending, step = self._ending.received(number, time.monotonic())
        if step is Step.LEAVE:
            self._leave(128 + number, f"{signal.Signals(number).name} asks for the end at once")
        if step is Step.ASK and self._ask is not None:
            self._ask()

    def _pass_on(self, number: int) -> None:
        """Pass a signal on to the event loop, for handlers of the application."""
        replaced = self._replaced
        if replaced is not None:
            try:
                os.write(replaced, bytes([number]))
            except OSError:
                # Full: the loop has signals to look at already. Closed: the loop has ended.
                return

    def _leave(self, status: int, reason: str) -> NoReturn:
        self._is_leaving = True
        # In a thread of its own: the main thread may hold the lock of a logging handler.
        teller = threading.Thread(target=self._say_last_words, args=(reason,), daemon=True)
        teller.start()
        teller.join(_LAST_WORDS)
        # Not sys.exit: the main thread may never take another step.
        os._exit(status)

    def _say_last_words(self, reason: str) -> None:
        for last_words in self._last_words:
            last_words(reason)

    def _forget(self) -> None:
        """Give a child of a fork the signals of an ordinary process.

        Handlers of the application stay, which have replaced those of the watch.
        """
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, _BEFORE[number])


_watches: list[Watch] = []


def watch() -> Watch:
    """Return the watch over this process; the first call begins the watch."""
    if not _watches:
        _watches.append(Watch())
        _watches[0].begin()
    return _watches[0]


def leave_as_first_process() -> None:
    """Let SIGTERM end a command that is the first process of a container.

    The kernel ignores a signal of that process which has no handler.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _leave_in_order)


def _leave_in_order(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
