"""Shows rows of text without cutting anything off."""

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgy_bus.reasons import printable

Cells = Sequence[str]

_BORDER = 3
"""Characters of a table's border for each column; the spaces of `aligned` may count twice."""


def show(columns: Cells, rows: Sequence[Cells]) -> None:
    """Print rows below the names of their columns.

    The rows are a table where a table fits on the terminal. Elsewhere each row is a line, which a
    terminal wraps and a script reads: a folded identifier could not be copied.
    """
    clean = [[printable(cell) for cell in row] for row in rows]
    lines = aligned([columns, *clean])
    # The width is that of the terminal, or of COLUMNS.
    console = Console()
    needed = max(map(len, lines)) + _BORDER * len(columns)
    if console.is_terminal and needed <= console.width:
        console.print(_table(columns, clean))
        return
    for line in lines:
        typer.echo(line)


def aligned(rows: Sequence[Cells]) -> list[str]:
    """Return a line for each row, with columns as wide as their longest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _table(columns: Cells, rows: Sequence[Cells]) -> Table:
    table = Table(*columns)
    for row in rows:
        # The text of an error may contain brackets, which are markup unless they are wrapped.
        table.add_row(*map(Text, row))
    return table
