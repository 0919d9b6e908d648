"""What the library tells about itself: named events with plain fields, and listeners for them.

Core code calls `emit`; logging, metrics and tracing are listeners, so that none of them is known here. A listener runs in
the caller, must not block, and cannot break it: what it raises is dropped after one report on the module's logger.
Fields carry names, numbers and reasons. They never carry payloads, passwords or URLs with credentials.
"""

import logging
from collections.abc import Callable
from typing import Any

Listener = Callable[[str, dict[str, Any]], None]

_listeners: list[Listener] = []
_logger = logging.getLogger("edgy_bus.telemetry")


def listen(listener: Listener) -> Callable[[], None]:
    """Call `listener(name, fields)` for every event from now on; the function returned takes it away again."""
    _listeners.append(listener)

    def stop() -> None:
        if listener in _listeners:
            _listeners.remove(listener)

    return stop


def emit(name: str, /, **fields: Any) -> None:
    """Tell every listener that `name` (`part.what_happened`) came to pass."""
    for listener in tuple(_listeners):
        try:
            listener(name, fields)
        except Exception:
            _logger.exception("a telemetry listener failed on %s", name)
