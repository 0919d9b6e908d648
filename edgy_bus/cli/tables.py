"""Shows rows of text: as a table on a terminal, as aligned lines elsewhere."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgy_bus.observability.logging import printable

Cells = Sequence[str]


def show(columns: Cells, rows: Sequence[Cells]) -> None:
    """Print rows below the names of their columns.

    No text is cut off: a terminal wraps long texts, and a pipe or a file gets one line for each row.
    """
    console = Console()
    clean = [[printable(cell) for cell in row] for row in rows]
    if console.is_terminal:
        console.print(_table(columns, clean))
        return
    for line in aligned([columns, *clean]):
        print(line)  # noqa: T201


def aligned(rows: Sequence[Cells]) -> list[str]:
    """Return a line for each row, with columns as wide as their longest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _table(columns: Cells, rows: Sequence[Cells]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text is no markup: the text of an error may contain brackets.
        table.add_row(*(Text(cell) for cell in row))
    return table
