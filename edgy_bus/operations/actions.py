"""The log of actions. Every action of an operator is recorded here, with the operator's name."""

import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from edgy_bus import telemetry
from edgy_bus.brokers.base import ActionEntry, ActionLog
from edgy_bus.environment import OPERATOR
from edgy_bus.errors import ConfigurationError
from edgy_bus.reasons import describe, kind_of, printable
from edgy_bus.telemetry import catalogue

T = TypeVar("T")

LONGEST_NAME = 200
"""Characters of names in the log: of an operator, of groups, of receivers."""

LONGEST_WORDS = 500
"""Characters of a choice and of a result in the log."""


@dataclass(frozen=True, slots=True)
class RecordedAction:
    """An action of an operator, as the log has the action."""

    at: datetime
    """When the action ended, by the broker's clock."""
    operator: str
    action: str
    """The words that name the action: `dead replay`."""
    group: str
    """Empty if the action names no group."""
    receiver: str
    """Empty for all receivers."""
    choice: str
    """The rest of the choice, in words: a filter, ids, a length of time."""
    count: int
    """Letters, rows, models or workers that the action concerned."""
    result: str


@dataclass(frozen=True, slots=True)
class Actions:
    """The latest actions of operators, the newest last."""

    actions: tuple[RecordedAction, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an action, for the log: how many letters, rows or models, and the result."""

    count: int
    result: str


async def actions(log: ActionLog, limit: int) -> Actions:
    """Return up to `limit` of the latest actions of operators, the newest last. Only reads."""
    # A few hundred bytes each: a page of the log is the whole log.
    return Actions(tuple(_view(at, entry) for at, entry in await log.actions(limit)))


def operator_name(name: str | None = None) -> str:
    """Return the operator: `name`, else EDGY_BUS_OPERATOR, else USER@HOST of this process."""
    for chosen in (name, os.environ.get(OPERATOR)):
        if chosen and chosen.strip():
            return _line(chosen.strip(), LONGEST_NAME)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run with a user id that has no name.
        user = "?"
    # Several operators may share the name of a user.
    return _line(f"{user}@{socket.gethostname()}", LONGEST_NAME)


async def recorded(
    log: ActionLog, entry: ActionEntry, action: Awaitable[T], outcome: Callable[[T], Outcome]
) -> T:
    """Await an action, record the action in the log, and return its result.

    An action that is refused at its beginning (`ConfigurationError`) is not recorded. An action
    that fails or is interrupted is recorded, because a part may be done. A log that cannot be
    written changes nothing of the action, and is reported (`action.unrecorded`).

    Args:
        log: the log.
        entry: the operator and the action; `count` and `result` are filled in here.
        action: does the work.
        outcome: turns the result of the work into words for the log.
    """
    # After the action, so that the entry has the result: a killed process leaves no entry.
    try:
        result = await action
    except ConfigurationError:
        raise
    except BaseException as error:
        # Only the kind of the error: the text may quote secrets.
        failed = f"{kind_of(error)}: perhaps a part is done"
        # The caller learns of the error of the action, which the log shares if the broker is away.
        with suppress(Exception):
            await log.record(_bounded(replace(entry, result=failed)))
        raise
    ended = outcome(result)
    entry = replace(entry, count=ended.count, result=ended.result)
    try:
        await log.record(_bounded(entry))
    except Exception as error:  # noqa: BLE001 - the action is done, and its result must be returned
        telemetry.emit(catalogue.ActionUnrecorded(action=entry.action, error=describe(error)))
    return result


def _bounded(entry: ActionEntry) -> ActionEntry:
    return ActionEntry(
        operator=entry.operator,
        action=entry.action,
        group=_line(entry.group, LONGEST_NAME),
        receiver=_line(entry.receiver, LONGEST_NAME),
        choice=_line(entry.choice, LONGEST_WORDS),
        count=entry.count,
        result=_line(entry.result, LONGEST_WORDS),
    )


def _line(text: str, longest: int) -> str:
    # A reason may be a pasted page, and the log is read as a whole.
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _view(at: float, entry: ActionEntry) -> RecordedAction:
    return RecordedAction(
        at=datetime.fromtimestamp(at, UTC),
        operator=entry.operator,
        action=entry.action,
        group=entry.group,
        receiver=entry.receiver,
        choice=entry.choice,
        count=entry.count,
        result=entry.result,
    )
