"""The table of metrics in docs/metrics.md: `python -m tests.unit.observability.table` writes it."""

from pathlib import Path

from edgy_bus.observability.metrics import METRICS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
HEAD = "| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n"


def rows() -> str:
    """Return the rows of the catalogue, by name."""
    lines = []
    for name, (metric, description) in sorted(METRICS.items()):
        kind, labels = type(metric).__name__.lower(), ", ".join(metric.labels)
        lines.append(f"| `{name}` | {kind} | {labels or 'none'} | {description} |\n")
    return "".join(lines)


def written(page: str) -> str:
    """Return a page with the table of the catalogue."""
    before, _, after = page.partition(HEAD)
    rest = after.splitlines(keepends=True)
    while rest and rest[0].startswith("|"):
        del rest[0]
    return f"{before}{HEAD}{rows()}{''.join(rest)}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
