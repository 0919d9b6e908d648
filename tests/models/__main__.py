"""Search the models under every row of the table, or under the flags of the command line.

python -m tests.models                                            every short row
python -m tests.models --large                                    the long rows as well
python -m tests.models --trace publish EVENTS=2 LOSS NO_MARK_CAS  the shortest counter-example
"""

import argparse
import sys

from tests.models.checker import check, missing, trace
from tests.models.rows import ROWS, Row


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", nargs="?", choices=["publish", "consume", "keeper", "aside"])
    options.add_argument("flags", nargs="*", help="as in the models, without -D")
    options.add_argument(
        "--large", action="store_true", help="also the rows that take minutes and gigabytes"
    )
    options.add_argument("--trace", action="store_true", help="tell the shortest counter-example")
    options.add_argument("--timeout", type=float, default=900.0, help="seconds for each search")
    given = options.parse_args()
    if lacking := missing():
        sys.stdout.write(f"{lacking}; on Debian: apt-get install spin gcc\n")
        return 2
    if given.model is None:
        rows = [row for row in ROWS if given.large or not row.large]
        return sum(not _tell(row, given.timeout) for row in rows)
    flags = Row(given.model, " ".join(given.flags), holds=True)
    if given.trace:
        sys.stdout.write(trace(flags.model, flags.options, given.timeout) or "no counter-example\n")
        return 0
    sys.stdout.write(f"{check(flags.model, flags.options, given.timeout)}\n")
    return 0


def _tell(row: Row, timeout: float) -> bool:
    verdict = check(row.model, row.options, timeout)
    as_expected = verdict.holds if row.holds else bool(verdict.errors)
    outcome = "holds" if verdict.holds else "counter-example" if verdict.errors else "INCOMPLETE"
    cells = (row.model, f"`{row.flags}`", outcome, f"{verdict.states:,}", f"{verdict.seconds:.1f}")
    remark = "" if as_expected else " NOT AS EXPECTED"
    sys.stdout.write(f"| {' | '.join(cells)} |{remark}\n")
    sys.stdout.flush()
    return as_expected


sys.exit(main())
