"""`edgy-bus doctor`: what is wrong, why that matters, and what mends it."""

from enum import StrEnum

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import reach
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.operations import Diagnosis, Severity
from edgy_bus.reasons import printable


class FailOn(StrEnum):
    """The least severity of a finding that ends the command with status 1."""

    WARNING = "warning"
    ERROR = "error"


def examine(place: Place, fail_on: FailOn, seconds: float, *, as_json: bool) -> None:
    """Show what is wrong; `seconds` is the time between two looks at the lags."""
    diagnosis = reach(
        place,
        lambda parts, unreachable: operations.doctor(
            parts, seconds=seconds, unreachable=unreachable
        ),
    )
    least = Severity[fail_on.name]
    answer(
        "doctor",
        {"findings": [_data(finding) for finding in diagnosis.findings]},
        lambda: _print(diagnosis),
        as_json=as_json,
        status=Exit.FINDING if diagnosis.fails(least) else Exit.FINE,
    )


# Names in place of numbers: a script compares words.
def _data(finding: operations.Finding) -> dict[str, str]:
    return {
        "code": finding.code,
        "severity": finding.severity.name.lower(),
        "about": finding.about,
        "why": finding.why,
        "remedy": finding.remedy,
    }


def _print(diagnosis: Diagnosis) -> None:
    if not diagnosis.findings:
        typer.echo("nothing is wrong")
    for finding in diagnosis.findings:
        color = "red" if finding.severity is Severity.ERROR else "yellow"
        kind = finding.severity.name.lower()
        # Names of groups are text of any program that may write to the broker.
        typer.secho(printable(f"{kind} {finding.code}: {finding.about}"), fg=color)
        typer.echo(printable(f"  {finding.why}"))
        typer.echo(printable(f"  mend: {finding.remedy}"))
