"""SQLAlchemy statements made ready for a driver: compiled once, then only their values change.

Compiling is most of what a small statement costs, so compiled statements are kept by SQLAlchemy's own cache key.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import (
    CompoundSelect,
    Delete,
    Dialect,
    Executable,
    Insert,
    Select,
    TextClause,
    TextualSelect,
    Update,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.ddl import BaseDDLElement
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.functions import FunctionElement

Processor = Callable[[Any], Any]
Row = dict[str, Any]

KEPT = 500
"""How many compiled statements are kept, the most recently used ones."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and values as a driver takes them.

    `returns_rows` is None where only the database knows: for text. `harmless`: it cannot change the state of its session, so
    the connection need not be reset after it.
    """

    sql: str
    arguments: tuple[Any, ...]
    returns_rows: bool | None
    columns: "Columns"
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a result's columns, and what turns a driver's values into Python's."""

    names: tuple[str, ...]
    processors: tuple[tuple[str, Processor], ...]

    def row(self, names: Sequence[str], values: Iterable[Any]) -> Row:
        """One row as a dict; `names` are the driver's, used where the statement did not say."""
        row = dict(zip(self.names or names, values, strict=True))
        for name, process in self.processors:
            row[name] = process(row[name])
        return row


_NO_COLUMNS = Columns((), ())


_Source = tuple[str | None, Any, Processor | None]
"""Where one of a driver's values comes from: the name of a parameter, and what makes it the driver's; or None and a constant."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """What need not be worked out again: the SQL, and where each of its values comes from, in order."""

    sql: str
    sources: tuple[_Source, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A compiled statement, and the values that the statement at hand brings along."""

    compiled: SQLCompiler
    columns: Columns
    own: Any
    harmless: bool = False
    settled: _Settled | None = None
    """Of a statement that is used again."""

    def values(self, parameters: Mapping[str, Any]) -> MutableMapping[str, Any]:
        return self.compiled.construct_params(dict(parameters), extracted_parameters=self.own)

    def finish(self, parameters: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
        """The SQL and the values as the driver takes them."""
        if self.settled is None:
            return _finish(self.compiled, self.values(parameters))
        values = [
            constant
            if name is None
            else parameters[name]
            if process is None
            else process(parameters[name])
            for name, constant, process in self.settled.sources
        ]
        return self.settled.sql, tuple(values)


class Compiler:
    """Compiles for one dialect, and remembers."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._kept: OrderedDict[Any, tuple[SQLCompiler, Columns, bool]] = OrderedDict()
        self._reused: OrderedDict[tuple[ClauseElement, tuple[str, ...]], _Ready] = OrderedDict()

    def prepare(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Statement:
        """Make a statement ready; `parameters` are values for its named binds, or columns of an INSERT or UPDATE."""
        element = cast(ClauseElement, statement)
        if isinstance(element, BaseDDLElement):
            return Statement(str(element.compile(dialect=self.dialect)), (), False, _NO_COLUMNS)
        ready = self._ready(element, None if parameters is None else tuple(parameters))
        sql, arguments = ready.finish(parameters or {})
        rows = None if isinstance(statement, TextClause) else bool(ready.columns.names)
        return Statement(sql, arguments, rows, ready.columns, ready.harmless)

    def prepare_many(
        self, statement: Executable, parameters: Sequence[Mapping[str, Any]]
    ) -> tuple[str, list[tuple[Any, ...]]]:
        """The SQL and one tuple of values for each of `parameters`, which all have the same names."""
        ready = self._ready(cast(ClauseElement, statement), tuple(parameters[0]))
        return ready.compiled.string, [
            _bound(ready.compiled, ready.values(one)) for one in parameters
        ]

    def _ready(self, element: ClauseElement, names: tuple[str, ...] | None) -> "_Ready":
        """A statement with parameters is meant to be used again: it is found by its identity, without looking into it."""
        if names is None:
            return self._find(element, names)
        place = (element, names)
        if place not in self._reused:
            found = self._find(element, names)
            self._reused[place] = replace(found, settled=_settled(found, names))
            if len(self._reused) > KEPT:
                self._reused.popitem(last=False)
        self._reused.move_to_end(place)
        return self._reused[place]

    def _find(self, element: ClauseElement, names: tuple[str, ...] | None) -> "_Ready":
        key = element._generate_cache_key()
        if key is None:
            compiled, columns, harmless = self._compile(element, None, names)
            return _Ready(compiled, columns, None, harmless)
        place = (key.key, names)
        if place not in self._kept:
            self._kept[place] = self._compile(element, key, names)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(place)
        compiled, columns, harmless = self._kept[place]
        return _Ready(compiled, columns, key.bindparams, harmless)

    def _compile(
        self, element: ClauseElement, key: Any, names: tuple[str, ...] | None
    ) -> tuple[SQLCompiler, Columns, bool]:
        compiled = element.compile(
            dialect=self.dialect,
            cache_key=key,
            column_keys=None
            if names is None or isinstance(element, Select | CompoundSelect)
            else list(names),
        )
        return (
            cast(SQLCompiler, compiled),
            self._columns(cast(SQLCompiler, compiled)),
            is_harmless(element),
        )

    def _columns(self, compiled: SQLCompiler) -> Columns:
        entries = compiled._result_columns
        processors = []
        for entry in entries:
            process = entry.type.dialect_impl(self.dialect).result_processor(self.dialect, None)
            if process is not None:
                processors.append((entry.keyname, cast(Processor, process)))
        return Columns(tuple(entry.keyname for entry in entries), tuple(processors))


_HARMLESS_FUNCTIONS = frozenset(
    [
        "count",
        "coalesce",
        "lower",
        "upper",
        "sum",
        "min",
        "max",
        "avg",
        "length",
        "octet_length",
        "left",
        "md5",
        "encode",
        "translate",
        "to_char",
        "timezone",
        "json_build_object",
        "unnest",
        "concat_ws",
        "isfinite",
        "now",
        "replace",
    ]
)


def is_harmless(element: ClauseElement) -> bool:
    """Whether a statement cannot leave anything behind in its session: no settings, locks, or prepared things.

    Only a SELECT, INSERT, UPDATE or DELETE without text of the caller's and without functions that are not known.
    """
    if not isinstance(element, Select | CompoundSelect | Insert | Update | Delete):
        return False
    for part in visitors.iterate(element):
        if isinstance(part, TextClause | TextualSelect):
            return False
        if getattr(part, "is_literal", False) and getattr(part, "name", "") != "*":
            return False
        if (
            isinstance(part, FunctionElement)
            and getattr(part, "name", "") not in _HARMLESS_FUNCTIONS
        ):
            return False
    return True


def _settled(ready: _Ready, names: tuple[str, ...]) -> _Settled | None:
    """Worked out once for all uses of a statement; None where its text or values depend on more than its parameters."""
    compiled = ready.compiled
    given = {
        name: bind.key if bind.key in names else name for bind, name in compiled.bind_names.items()
    }
    written_out = {compiled.bind_names[bind] for bind in compiled.literal_execute_params}
    if compiled.post_compile_params - compiled.literal_execute_params or any(
        given[one] in names for one in written_out
    ):
        return None
    if any(bind.callable is not None for bind in compiled.bind_names):
        return None
    constants = ready.values(dict.fromkeys(names))
    sql, order = compiled.string, tuple(compiled.positiontup or ())
    if written_out:
        expanded = compiled._process_parameters_for_postcompile(constants)
        sql, order = expanded.statement, tuple(expanded.positiontup or ())
    processors = cast("Mapping[str, Processor]", compiled._bind_processors)
    sources = tuple(
        (given[name], None, processors.get(name))
        if given[name] in names
        else (
            None,
            processors[name](constants[name]) if name in processors else constants[name],
            None,
        )
        for name in order
    )
    return _Settled(sql, sources)


def _finish(compiled: SQLCompiler, values: MutableMapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """The SQL with its lists (`IN`) written out, and the values in order."""
    if not (compiled.post_compile_params or compiled.literal_execute_params):
        return compiled.string, _bound(compiled, values)
    expanded = compiled._process_parameters_for_postcompile(values)
    processors = {**compiled._bind_processors, **expanded.processors}
    return expanded.statement, _processed(
        expanded.positiontup or (), expanded.parameters, processors
    )


def _bound(compiled: SQLCompiler, values: Mapping[str, Any]) -> tuple[Any, ...]:
    return _processed(compiled.positiontup or (), values, compiled._bind_processors)


def _processed(
    names: Sequence[str], values: Mapping[str, Any], processors: Mapping[str, Any]
) -> tuple[Any, ...]:
    return tuple(
        processors[name](values[name]) if name in processors else values[name] for name in names
    )
