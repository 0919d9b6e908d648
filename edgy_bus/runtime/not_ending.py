"""Report calls of receivers that go on after they were cancelled.

A receiver cannot be ended against its will: `except BaseException` around a wait swallows the
cancellation. Such a call is reported by name, with the line at which it stands.
"""

import asyncio
from collections.abc import Coroutine
from types import FrameType
from typing import Any

from edgy_bus import telemetry
from edgy_bus.codec import Envelope
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.telemetry import catalogue

PATIENCE = 2.0
"""Seconds for a cancelled call to clean up before the call is reported."""


class CallWatch:
    """CallWatch a call of a receiver.

    Args:
        subscription: the receiver.
        envelope: the event, or the first event of a batch.
        call: the coroutine of the call.
    """

    __slots__ = ("_call", "_timer", "envelope", "subscription")

    def __init__(
        self, subscription: Subscription, envelope: Envelope, call: Coroutine[Any, Any, Any]
    ) -> None:
        self.subscription = subscription
        self.envelope = envelope
        self._call = call
        self._timer: asyncio.TimerHandle | None = None

    def cancelled(self) -> None:
        """Give the call its time to end; called whenever the call is cancelled."""
        # Once for each call: a loop around a wait would be reported for every turn.
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._report)

    def ended(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _report(self) -> None:
        subscription, envelope = self.subscription, self.envelope
        telemetry.emit(
            catalogue.ReceiverNotEnding(
                group=subscription.group,
                receiver=subscription.name,
                event=f"{envelope.model}.{envelope.signal}",
                event_id=envelope.id,
                seconds=PATIENCE,
                stands_at=standing(self._call),
            )
        )


def standing(call: object) -> str:
    """Return where a coroutine stands: the innermost line that is not asyncio's."""
    place, depth = "", 0
    while call is not None and depth < 100:
        frame = _frame_of(call)
        if frame is not None and "/asyncio/" not in frame.f_code.co_filename:
            code = frame.f_code
            place = f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
        call, depth = _awaited_by(call), depth + 1
    return place or "a place that is not known"


def _frame_of(call: object) -> FrameType | None:
    frames = (getattr(call, name, None) for name in ("cr_frame", "gi_frame", "ag_frame"))
    return next((frame for frame in frames if frame is not None), None)


def _awaited_by(call: object) -> object:
    awaited = (getattr(call, name, None) for name in ("cr_await", "gi_yieldfrom", "ag_await"))
    return next((each for each in awaited if each is not None), None)
