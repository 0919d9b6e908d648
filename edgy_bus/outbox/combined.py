"""On PostgreSQL, an operation on one row and its event are one statement: the outbox costs no round trip of its own.

The statement stands in a CTE, and the event is made from the row that it returns: the key that the database gave, and the values
as it stored them. The JSON means the same as what `codec` writes. The outbox id is drawn after the row was changed and locked, as
it is where there are two statements.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    Delete,
    Double,
    Enum,
    Executable,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    Time,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.types import TypeEngine

from edgy_bus.database import ExactDecimal, UTCDateTime
from edgy_bus.models.statements import KEY
from edgy_bus.outbox.statements import then_pending
from edgy_bus.outbox.table import outbox

_AS_IT_IS = (Boolean, Integer, BigInteger, String, Text, Double, Time, Uuid, Enum)
_KEYS = (Integer, BigInteger, String, Text, Uuid)
_MOST = 50
"""Columns: PostgreSQL's functions take 100 arguments."""

FIXED = ("event_id", "time", "created")
"""What the statement takes as it is, besides the values of the row; see `parameters_of`."""


class Kind(NamedTuple):
    """What all events of an operation have in common: it is written into the statement."""

    table: Table
    pk: str
    public: tuple[str, ...]
    """Columns that the event tells."""
    model: str
    signal: str
    partitions: int
    max_bytes: int


@cache
def recordable(table: Table, pk: str, public: Sequence[str]) -> bool:
    """Whether PostgreSQL can write the JSON of such a row as we would."""
    return (
        len(public) <= _MOST
        and isinstance(table.c[pk].type, _KEYS)
        and all(_json(table.c[name], table.c[name].type) is not None for name in public)
    )


@lru_cache(maxsize=1_000)
def with_event(statement: Any, names: Sequence[str], kind: Kind) -> Executable:
    """The statement of a single row, which writes its event as well; `names` are those of its parameters.

    Fails with a division by zero where the event is too large.
    """
    if not isinstance(statement, Delete):
        statement = statement.values(
            {
                name: bindparam(_own(name), type_=kind.table.c[name].type)
                for name in names
                if name != KEY
            }
        )
    row = statement.cte("changed")
    pairs = [
        part
        for name in kind.public
        for part in (_constant(name), _json(row.c[name], kind.table.c[name].type))
    ]
    data = (
        _constant('{"instance":')
        + cast(func.json_build_object(*pairs), Text)
        + _parameter("rest", Text())
    )
    event = (
        select(cast(row.c[kind.pk], Text).label("subject"), data.label("data"))
        .select_from(row)
        .subquery("event")
    )
    hashed = cast(
        cast(_constant("x") + func.left(func.md5(event.c.subject), _constant(8)), BIT(32)),
        BigInteger,
    )
    small = func.octet_length(event.c.data) <= _constant(kind.max_bytes)
    values: dict[str, Any] = {name: _parameter(name, outbox.c[name].type) for name in FIXED}
    values |= {
        "model": _constant(kind.model),
        "signal": _constant(kind.signal),
        "label": cast(hashed % _constant(kind.partitions), Text),
        "subject": event.c.subject,
        "data": event.c.data,
        "created": values["created"] / cast(small, Integer),
    }
    written = insert(outbox).from_select(list(values), select(*values.values()).select_from(event))
    return select(*row.c).add_cte(then_pending(written).cte("waits"))


def parameters_of(values: Mapping[str, Any] | None, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `with_event`'s statement: those of the original one, and what the event needs."""
    own = {name if name == KEY else _own(name): value for name, value in (values or {}).items()}
    return own | {f"edgy_bus_{name}": value for name, value in fixed.items()}


def _own(name: str) -> str:
    return f"row_{name}"


def _constant(value: str | int) -> Any:
    """Part of the statement's text: what is sent each time costs both sides more."""
    return literal(value, Text if isinstance(value, str) else BigInteger, literal_execute=True)


def _parameter(name: str, kind: TypeEngine[Any]) -> Any:
    return bindparam(f"edgy_bus_{name}", type_=kind)


def _json(column: Any, kind: TypeEngine[Any]) -> Any:
    """A column as `json_build_object` has to be given it; None for a type that it would not write as we do."""
    if isinstance(kind, UTCDateTime):
        utc = func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
        return _finite(column, utc, dt.datetime.min, dt.datetime.max)
    if isinstance(kind, Date):
        return _finite(column, func.to_char(column, "YYYY-MM-DD"), dt.date.min, dt.date.max)
    if isinstance(kind, ExactDecimal):
        return cast(column, Text)
    if isinstance(kind, LargeBinary):
        return func.translate(func.encode(column, "base64"), "\n", "")
    if isinstance(kind, (JSON, *_AS_IT_IS)):
        return column
    return None


def _finite(column: Any, text: Any, least: dt.date, greatest: dt.date) -> Any:
    """The text of a time; the driver stores Python's least and greatest ones as PostgreSQL's infinities, which have none."""
    zone = "+00:00" if isinstance(least, dt.datetime) else ""
    return case(
        (column.is_(None), None),
        (func.isfinite(column), text),
        (column > func.now(), f"{greatest.isoformat()}{zone}"),
        else_=f"{least.isoformat()}{zone}",
    )
