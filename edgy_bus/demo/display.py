"""What a person sees of a run: a live table on a terminal, plain lines elsewhere."""

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

from edgy_bus.demo.accounting import Account


@dataclass(frozen=True)
class GroupState:
    """How far a group is."""

    name: str
    workers: int
    handled: int
    pending: int
    lag: int
    retries: int


class Display(ABC):
    """Shows what happens. Enter it while the run goes on."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @abstractmethod
    def show(self, done: int, total: int, outbox: int, groups: Sequence[GroupState]) -> None:
        """How far everything is."""

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
        """The end of the story."""
        table = Table(
            title="The account", title_justify="left", box=SIMPLE_HEAD, padding=0
        )  # 80 columns will do
        table.add_column("group", no_wrap=True)
        for name in (
            "committed",
            "handled",
            "lost",
            "duplicate\neffects",
            "out of\norder",
            "phantom",
            "differing\nrows",
        ):
            table.add_column(name, justify="right")
        for group in account.groups:
            numbers = (
                group.handled,
                group.lost,
                group.doubled,
                group.disordered,
                group.phantom,
                group.differing,
            )
            table.add_row(
                group.name, f"{account.committed:,}", *(f"{number:,}" for number in numbers)
            )
        self.console.print(table)
        self.say(
            f"vetoed by pre_save: {account.vetoed:,}   rolled back on purpose: {account.rolled_back:,}"
        )
        self.say("Everything adds up." if account.good else "IT DOES NOT ADD UP.")


class LiveDisplay(Display):
    """For a terminal."""

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
        self._progress.update(self._task, completed=done, total=total)
        table = Table()
        table.add_column("group")
        for name in ("workers", "handled", "pending", "lag", "retries"):
            table.add_column(name, justify="right")
        for group in groups:
            numbers = (group.workers, group.handled, group.pending, group.lag, group.retries)
            table.add_row(group.name, *(f"{number:,}" for number in numbers))
        self._live.update(
            Group(self._progress, table, f"in the outbox, not yet published: {outbox:,}")
        )

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
    """For a file or a pipe: a line whenever another tenth is done, and while the groups catch up."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._shown: object = None

    def show(self, done: int, total: int, outbox: int, groups: Sequence[GroupState]) -> None:
        tenth = 10 * done // total
        news = tenth if tenth < 10 else (outbox, *groups)
        if news == self._shown:
            return
        self._shown = news
        parts = [
            f"{group.name}: {group.workers} workers, {group.handled} handled, {group.pending} pending, {group.lag} lag, "
            f"{group.retries} retries"
            for group in groups
        ]
        self.say(f"{done}/{total} operations | outbox {outbox} | {' | '.join(parts)}")


def display_for(console: Console) -> Display:
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
