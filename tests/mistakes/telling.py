"""`@tells`: make a mistake, and compare what the user reads with what the user must read."""

import functools
import inspect
import logging
import warnings
from collections.abc import Callable
from typing import Any

LINE = ""
"""Stands for `where` if the traceback of the error ends in the user's own line."""

PLAIN = ""
"""Stands for `do` if the text names what is wrong so that nobody asks what to do."""


class _Reading(logging.Handler):
    """Collect what a user reads: an error, log lines of a level that nobody hides, and warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.is_error = False
        self._warnings = warnings.catch_warnings(record=True)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> "_Reading":
        logging.getLogger().addHandler(self)
        self._caught = self._warnings.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        self._warnings.__exit__(kind, error, trace)
        logging.getLogger().removeHandler(self)
        if isinstance(error, Exception):
            self.is_error = True
            self.lines += [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
        self.lines += [str(warning.message) for warning in self._caught or ()]
        # The test compares the text of an error, of whatever kind it is.
        return self.is_error

    def require(self, what: str, where: str, do: str) -> None:
        text = "\n".join(self.lines)
        assert text, "the mistake met silence"
        assert where or self.is_error, "a log line must say where the mistake is"
        for part in (what, where, do):
            assert part in text, f"{part!r} is missing in: {text}"


def tells(what: str, *, where: str = LINE, do: str) -> Callable[[Any], Any]:
    """Return a decorator for a function that makes a mistake: it becomes a test of the message.

    The error that the function raises, and the log lines and warnings until then, must contain all
    three texts. A function that returns text, for example the output of a command, adds the text.

    Args:
        what: names what is wrong.
        where: names the place: a model and field, a receiver, a setting, a part of a URL. `LINE`
            if an error is raised in the line of the mistake.
        do: names what to write instead.
    """

    def decorate(mistake: Any) -> Any:
        @functools.wraps(mistake)
        def test(*arguments: Any, **keywords: Any) -> None:
            with _Reading() as reading:
                answer = mistake(*arguments, **keywords)
                reading.lines += [] if answer is None else [answer]
            reading.require(what, where, do)

        @functools.wraps(mistake)
        async def async_test(*arguments: Any, **keywords: Any) -> None:
            with _Reading() as reading:
                answer = await mistake(*arguments, **keywords)
                reading.lines += [] if answer is None else [answer]
            reading.require(what, where, do)

        return async_test if inspect.iscoroutinefunction(mistake) else test

    return decorate
