"""The table of docs/protocols/README.md: which flags hold, and which need a counter-example."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A model under one set of flags. `large` ones are searched on request only."""

    model: str
    flags: str
    holds: bool
    large: bool = False

    @property
    def options(self) -> list[str]:
        return [f"-D{flag}" for flag in self.flags.split()]

    def __str__(self) -> str:
        return f"{self.model} {self.flags}"


_TWO_RELAYS = "EVENTS=2 LOSS"
_ONE_WORKER = "EVENTS=2 RELAYS=1 WORKER LOSS"
_TENURES = "EVENTS=3 TENURES=2"
_LATE = "END=9 LEASE=3 MAX_BLOCKED=2"


def _broken(model: str, base: str, *flags: str) -> list[Row]:
    return [Row(model, f"{base} {flag}", holds=False) for flag in flags]


ROWS = [
    Row("publish", "EVENTS=3", holds=True),
    Row("publish", _TWO_RELAYS, holds=True),
    Row("publish", f"{_TWO_RELAYS} FRESH_NUMBERS", holds=True),
    Row("publish", "EVENTS=2 DELETE", holds=True),
    Row("publish", "EVENTS=2 DESTROY", holds=True),
    Row("publish", f"{_ONE_WORKER} READS_RISE", holds=True),
    *_broken(
        "publish",
        _TWO_RELAYS,
        "REACHED",
        "NO_PUBLISH_CAS",
        "NO_MARK_CAS",
        "NO_REPAIR_CAS",
        "HEAD_READ_FIRST",
        "HEAD_READ_LAST",
        "LOSS_NOT_NOTICED",
        "BY_NUMBER",
        "LOST_NOT_PENDING",
        "TRIM_BEYOND_HEAD",
        "TRIMMED_FIRST",
        "NO_TRIM_CHECK",
        "GROUPS_FORGOTTEN",
        "CONFIRMED_FALLS",
    ),
    *_broken("publish", "EVENTS=2 DESTROY", "CONFIRMED_FALLS"),
    Row("publish", _ONE_WORKER, holds=False),
    Row("consume", _TENURES, holds=True),
    Row("consume", f"{_TENURES} INBOX", holds=True),
    Row("consume", "EVENTS=2 TENURES=2 OLDER_COPY", holds=True),
    Row("consume", "EVENTS=2 TENURES=2 OLDER_COPY NO_WRITES", holds=False),
    *_broken(
        "consume",
        _TENURES,
        "REACHED",
        "ONCE",
        "SPLIT_FETCH",
        "NO_LEASE_IN_FETCH",
        "NOTHING_INHERITED",
        "NEW_FIRST",
        "NO_DOUBT",
        "NO_LANES",
        "ACKNOWLEDGED_FIRST",
        "INBOX SPLIT_FETCH",
        "INBOX NO_DOUBT",
        "INBOX NO_LANES",
        "INBOX INBOX_APART",
        "INBOX INBOX_COMPARES_NOTHING",
    ),
    Row("keeper", "IN_TIME", holds=True),
    Row("keeper", "IN_TIME GONE", holds=True),
    Row("keeper", _LATE, holds=True),
    *_broken(
        "keeper",
        "LEASE=4",
        "REACHED",
        "NO_REREAD",
        "ANSWER_COUNTS",
        "NO_CHECK",
        "NO_FENCE",
        "NO_MARGIN",
    ),
    *_broken("keeper", "IN_TIME", "NO_LIMIT", "LIMIT_FROM_RENEWAL", "GONE NO_WAKE"),
    Row("aside", "MISSING", holds=True),
    Row("aside", "MISSING ONE_ROW", holds=True),
    Row("aside", "MISSING KILL", holds=True),
    Row("aside", "PAUSE", holds=True),
    Row("aside", "PAUSE KILL", holds=True),
    Row("aside", "EVENTS=3 MISSING", holds=True),
    Row("aside", "EVENTS=3 PAUSE", holds=True),
    Row("aside", "MISSING ONCE", holds=True),
    *_broken(
        "aside",
        "MISSING",
        "REACHED",
        "NOT_MOVED",
        "RETURNS_UNFINISHED",
        "RETURNS_BEHIND",
        "MADE_AGAIN",
        "OWN_GROUP_TRIMMED",
        "KILL MISSING_OWN_GROUP",
        "ONCE BEGINS_AT_GROUP",
        "ONCE NO_FLOOR",
        "ONCE FINISHED_MOVED",
    ),
    *_broken("aside", "MISSING ONE_ROW", "NOT_MOVED", "RETURNS_BEHIND"),
    *_broken(
        "aside",
        "EVENTS=3 MISSING",
        "NO_FLOOR",
        "RETURNS_BESIDE_TENURE",
        "ONE_ROW READ_WHILE_MOVING",
    ),
    Row("aside", "PAUSE NO_DRAIN", holds=False),
    Row("publish", "EVENTS=3 LOSS FRESH_NUMBERS", holds=True, large=True),
    Row("publish", "EVENTS=3 RELAYS=1 WORKER LOSS READS_RISE", holds=True, large=True),
    Row("publish", "EVENTS=3 DESTROY", holds=True, large=True),
    Row("publish", "EVENTS=3 LOSS", holds=False, large=True),
    Row("publish", "EVENTS=3 DELETE", holds=False, large=True),
    Row("publish", "EVENTS=3 DELETE FRESH_NUMBERS", holds=True, large=True),
    Row("consume", f"{_TENURES} OLDER_COPY", holds=True, large=True),
    Row("consume", "EVENTS=2 TENURES=3", holds=True, large=True),
    Row("consume", "EVENTS=2 TENURES=3 INBOX", holds=True, large=True),
    Row("keeper", f"{_LATE} JUMP", holds=True, large=True),
    Row("aside", "EVENTS=3 MISSING ONE_ROW KILL", holds=True, large=True),
    Row("aside", "EVENTS=3 PAUSE KILL", holds=True, large=True),
]
