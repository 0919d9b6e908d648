"""Listeners of notices. A listener runs in the task that emits, and must not block.

Notices about a blocked event loop are emitted in another thread, because the loop cannot.
"""

import logging
from collections.abc import Callable

from edgy_bus.telemetry.notice import Notice

Listener = Callable[[Notice], None]

_listeners: list[Listener] = []
_logger = logging.getLogger("edgy_bus.telemetry")


def listen(listener: Listener) -> Callable[[], None]:
    """Call `listener(notice)` for every notice from now on.

    Returns:
        A function that removes the listener. Calling the function again does nothing.
    """
    _listeners.append(listener)

    def stop() -> None:
        if listener in _listeners:
            _listeners.remove(listener)

    return stop


def emit(notice: Notice) -> None:
    """Hand a notice to every listener.

    A listener that raises breaks neither the caller nor other listeners: the error is logged.
    """
    for listener in tuple(_listeners):
        try:
            listener(notice)
        except Exception:
            # An application's `dictConfig` disables loggers that its configuration does not name.
            _logger.disabled = False
            _logger.exception("a telemetry listener failed on %s", notice.name)
