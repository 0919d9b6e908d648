"""Find out where a thread stands, and which receiver it runs, without any work in the calls."""

import sys
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from edgy_bus.runtime.subscriptions import Subscription

_FRAMES = 12
"""Innermost calls that a report shows."""

_PYTHON = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")}

_FOREIGN = ("<frozen", str(Path(__file__).parent.parent), *_PYTHON)
"""How the file names of Python, of installed packages and of this library begin."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Say where a thread stands.

    Attributes:
        receiver: the name of the receiver that the thread runs, if any.
        line: the innermost line of the application, as file, number and function.
        stack: the innermost lines, from the outermost of them to the innermost.
    """

    receiver: str | None
    line: str
    stack: str


def stand_of(thread: int) -> Stand:
    """Return where a thread stands now.

    Args:
        thread: the identifier of the thread.
    """
    if thread == threading.get_ident():
        return Stand(None, "unknown", "")  # the caller's own line says nothing
    frame = sys._current_frames().get(thread)
    frames: list[FrameType] = []
    receiver = None
    while frame is not None:
        # The executor has the receiver in a variable; every call inside belongs to the receiver.
        subscription = _subscription_of(frame)
        if subscription is not None:
            receiver = subscription.name
            break
        frames.append(frame)
        frame = frame.f_back
    shown = frames[:_FRAMES]
    application = [each for each in frames if not _is_foreign(each)]
    innermost = next(iter(application or frames), None)
    stack = " > ".join(map(_describe, reversed(shown)))
    return Stand(receiver, "unknown" if innermost is None else _describe(innermost), stack)


def _subscription_of(frame: FrameType) -> Subscription | None:
    if not str(frame.f_globals.get("__name__", "")).startswith("edgy_bus.runtime."):
        return None
    value = frame.f_locals.get("subscription")
    return value if isinstance(value, Subscription) else None


def _is_foreign(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_FOREIGN)


def _describe(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
