"""Show a run to a person: a live table on a terminal, plain lines elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edgy_bus.demo.accounting import Account, GroupAccount


@dataclass(frozen=True)
class GroupState:
    """Describe the progress of a group."""

    name: str
    workers: int
    handled: int
    unfinished: int
    unread: int
    retries: int


_ACCOUNT_COLUMNS = (
    "committed",
    "handled",
    "lost",
    "duplicate\neffects",
    "out of\norder",
    "phantom",
    "differing\nrows",
)
"""Headings with line breaks, so that the table fits into 80 columns."""


class Display(ABC):
    """Show the progress of a run inside `with`, and the account at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line that stays."""
        # No markup: a URL with brackets in the text would disappear as a style.
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @abstractmethod
    def show(self, done: int, total: int, outbox: int, groups: Sequence[GroupState]) -> None:
        """Show the current progress.

        Args:
            done: finished operations.
            total: all operations of the run.
            outbox: events that are not published yet.
            groups: the progress of every group.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def account(self, account: Account) -> None:
        """Print the account of the whole run."""
        table = Table(title="The account", title_justify="left", box=SIMPLE_HEAD, padding=0)
        table.add_column("group", no_wrap=True)
        for heading in _ACCOUNT_COLUMNS:
            table.add_column(heading, justify="right")
        for group in account.groups:
            numbers = (account.committed, *_numbers(group))
            table.add_row(group.name, *map(_grouped, numbers))
        self.console.print(table)
        vetoed, rolled_back = _grouped(account.vetoed), _grouped(account.rolled_back)
        self.say(f"vetoed by pre_save: {vetoed}   rolled back on purpose: {rolled_back}")
        self.say("Everything adds up." if account.good else "IT DOES NOT ADD UP.")


def _numbers(group: GroupAccount) -> tuple[int, ...]:
    return (
        group.handled,
        group.lost,
        group.doubled,
        group.disordered,
        group.phantom,
        group.differing,
    )


def _grouped(number: int) -> str:
    """Return a number with commas between thousands."""
    return f"{number:,}"


class LiveDisplay(Display):
    """Show a table on a terminal that changes with the progress."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("operations in accounts", total=None)
        self._live = Live(self._progress, console=console, refresh_per_second=8)

    def show(self, done: int, total: int, outbox: int, groups: Sequence[GroupState]) -> None:
        """Redraw the table."""
        self._progress.update(self._task, completed=done, total=total)
        table = Table()
        table.add_column("group")
        for heading in ("workers", "handled", "unfinished", "unread", "retries"):
            table.add_column(heading, justify="right")
        for group in groups:
            numbers = (group.workers, group.handled, group.unfinished, group.unread, group.retries)
            table.add_row(group.name, *map(_grouped, numbers))
        below = f"in the outbox, not yet published: {_grouped(outbox)}"
        self._live.update(Group(self._progress, table, below))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()


class PlainDisplay(Display):
    """Print lines to a file or a pipe: at every tenth, and while the groups catch up."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._last: object = None

    def show(self, done: int, total: int, outbox: int, groups: Sequence[GroupState]) -> None:
        """Print a line, unless nothing has changed since the last line."""
        tenth = 10 * done // total
        # While operations run, a line per tenth. Afterwards only the groups change, so their state
        # decides; otherwise a log would show nothing until the end of the run.
        state = tenth if tenth < 10 else (outbox, *groups)
        if state == self._last:
            return
        self._last = state
        parts = [
            f"{group.name}: {group.workers} workers, {group.handled} handled, "
            f"{group.unfinished} unfinished, {group.unread} unread, {group.retries} retries"
            for group in groups
        ]
        self.say(f"{done}/{total} operations | outbox {outbox} | {' | '.join(parts)}")


def display_for(console: Console) -> Display:
    """Return the display that fits the console."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
