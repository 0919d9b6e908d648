"""Describe errors for logs and dead letters: in bounded length, and without values of rows.

An error is an object of the application: its text, its type and its chain may be of any size, and
any of its methods may raise. Nothing here raises, and nothing walks further than its bounds.
"""

import traceback
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import FrameType, TracebackType

from pydantic import ValidationError

_LONGEST = 2_000
"""Characters of a reason."""

_LONGEST_TRACE = 12_000
"""Characters of a traceback."""

_LINKS = 6
"""Errors of a chain (`raise … from …`) that a traceback shows, the last ones."""

_MEMBERS = 6
"""Errors of a group that a reason or a traceback shows."""

_DEPTH = 4
"""Groups within groups that a traceback shows."""

_OUTER, _INNER = 6, 14
"""Calls that a traceback shows: the first ones, and those next to the error."""

_LIBRARY = str(Path(__file__).parent)

Call = tuple[FrameType, int]
"""A call on the way to an error, and the number of the line at which it stood."""


def describe(error: BaseException) -> str:
    """Return the type and the text of an error, also of an error whose text cannot be made.

    The errors inside a group are listed: the text of a group does not name them.
    """
    try:
        return bounded(_described(error))
    except Exception:  # noqa: BLE001 - an error's class is the application's code
        return "an error that cannot be described"


def misfit(error: Exception) -> str:
    """Describe why a row cannot be read.

    Only names of fields and rules: the texts of errors, of pydantic's and of a validator's own,
    contain values of the row.
    """
    if not isinstance(error, ValidationError):
        return type(error).__name__
    details = error.errors(include_url=False, include_context=False, include_input=False)
    # Of a location only the field: deeper parts may be keys of the row's own JSON.
    return ", ".join(f"{'.'.join(map(str, each['loc'][:1]))} ({each['type']})" for each in details)


def bounded(reason: str) -> str:
    """Return a reason that fits in a log line and a dead letter."""
    return reason[:_LONGEST]


def printable(value: object) -> str:
    """Return a value as a line without control characters.

    The text of an error or of an entry may contain anything that a stranger has written.
    """
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def trace_of(error: BaseException) -> str:
    """Return the traceback of an error in lines: its calls, its causes, the errors of a group.

    The lines show code and the texts of errors, never the values of variables. Calls of this
    library above the application's are left out.
    """
    lines: list[str] = []
    length = 0
    try:
        for line in _lines(error):
            lines.append(line)
            length += len(line)
            # Inside the loop: groups of chains of groups are endless work.
            if length > _LONGEST_TRACE:
                lines.append("  …")
                break
    except Exception:  # noqa: BLE001 - as in `describe`
        lines.append("  (the rest of the traceback cannot be read)")
    return "\n".join(lines)


# Texts


def _described(error: BaseException) -> str:
    name, text = kind_of(error), _text_of(error)
    members = _members_of(error)
    if members:
        inner = "; ".join(_described_member(member) for member in members[:_MEMBERS])
        text = f"{text}: {inner}{'; …' if len(members) > _MEMBERS else ''}"
    return f"{name}: {text}" if text else name


def _described_member(member: BaseException) -> str:
    # No recursion: groups may be nested in any depth.
    inner = [member]
    for _ in range(_DEPTH):
        members = _members_of(inner[-1])
        if not members:
            break
        inner.append(members[0])
    text = _text_of(inner[-1])
    name = kind_of(inner[-1])
    return bounded(f"{name}: {text}" if text else name)


def kind_of(error: BaseException) -> str:
    """Return the name of an error's class."""
    # Asked of `type`: a metaclass may answer anything for the name of its class.
    name = type.__dict__["__name__"].__get__(type(error))
    return str(name)[:200]


def _text_of(error: BaseException) -> str:
    try:
        # The text of pydantic's error contains the values that it refused.
        if isinstance(error, ValidationError):
            return bounded(f"{error.title}: {misfit(error)}")
        # Cut as plain text: a subclass of `str` may have methods of its own.
        text = str.__getitem__(str(error), slice(0, _LONGEST))
        return _without_values(error, text)
    except BaseException:  # noqa: BLE001 - an error's __str__ is the application's code
        return "(its text cannot be made)"


def _without_values(error: BaseException, text: str) -> str:
    """Cut the lines in which errors of databases show values of rows and parameters."""
    # By name: this module must not import every driver to know its errors.
    classes = {f"{base.__module__}.{base.__name__}" for base in type(error).__mro__}
    if hasattr(error, "sqlstate") or "sqlalchemy.exc.StatementError" in classes:
        return text.partition("\n")[0]
    return text


def _members_of(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    # The attribute of the class itself: a subclass may answer anything.
    members = BaseExceptionGroup.__dict__["exceptions"].__get__(error)
    return list(members[: _MEMBERS + 1])


# Tracebacks


def _chain(error: BaseException) -> list[BaseException]:
    """Return the causes of an error and the error, in the order in which they were raised."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and len(chain) < _LINKS and not any(link is each for each in chain):
        chain.append(link)
        cause = BaseException.__dict__["__cause__"].__get__(link)
        hidden = BaseException.__dict__["__suppress_context__"].__get__(link)
        context = None if hidden else BaseException.__dict__["__context__"].__get__(link)
        link = context if cause is None else cause
    return chain[::-1]


def _lines(error: BaseException, depth: int = 0) -> Iterator[str]:
    """Yield the lines of an error and of its causes."""
    for link in _chain(error):
        yield from _lines_of(link, depth)


def _lines_of(error: BaseException, depth: int) -> Iterator[str]:
    """Yield the calls that led to an error, its text, and the errors of a group."""
    margin = "  " * (depth + 1)
    for line in _calls_of(BaseException.__dict__["__traceback__"].__get__(error)):
        yield f"{margin}{printable(line)}"
    name, text = kind_of(error), printable(_text_of(error))
    yield f"{margin}{name}: {text}" if text else f"{margin}{name}"
    members = _members_of(error)
    if members and depth == _DEPTH:
        yield f"{margin}  …"
        return
    for number, member in enumerate(members, start=1):
        if number > _MEMBERS:
            yield f"{margin}| …"
            return
        yield f"{margin}| error {number} of the group:"
        yield from _lines(member, depth + 1)


def _calls_of(trace: TracebackType | None) -> list[str]:
    calls = _of_the_application(list(traceback.walk_tb(trace)))
    left_out = len(calls) - _OUTER - _INNER
    if left_out <= 0:
        return _as_lines(calls)
    outer, inner = _as_lines(calls[:_OUTER]), _as_lines(calls[-_INNER:])
    return [*outer, f"… {left_out} more calls", *inner]


def _of_the_application(calls: list[Call]) -> list[Call]:
    """Leave out the calls of this library that led to the application's first call."""
    for number, (frame, _) in enumerate(calls):
        if not frame.f_code.co_filename.startswith(_LIBRARY):
            return calls[number:]
    return calls


def _as_lines(calls: list[Call]) -> list[str]:
    # Without local variables: they contain rows.
    summary = traceback.StackSummary.extract(iter(calls), capture_locals=False)
    lines: list[str] = []
    for call in summary:
        lines.append(f"{call.filename}:{call.lineno} in {call.name}")
        if call.line:
            lines.append(f"    {call.line}")
    return lines


def frames(error: BaseException) -> str:
    """Return the lines of code that an error passed, the line that raised it last.

    Without the texts of the error and of its causes, which may contain values of a row.
    """
    lines = [
        f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    # The end says more than the beginning.
    return " > ".join(lines)[-_LONGEST:]
