"""A figure beside its goal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured, and the most that it may be.

    Args:
        what: what was measured, with the conditions.
        value: the figure.
        most: the goal: the greatest figure that is good.
        unit: the unit of both.
    """

    what: str
    value: float
    most: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Return whether the goal is met."""
        return self.value <= self.most


def table(figures: list[Figure]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| what | measured | goal | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {one.what} | {one.value:,.3g} {one.unit} | ≤ {one.most:,g} {one.unit} "
        f"| {'met' if one.is_met else '**missed**'} |"
        for one in figures
    ]
    return "\n".join(lines)
