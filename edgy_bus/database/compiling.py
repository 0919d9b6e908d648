"""SQLAlchemy statements made ready for a driver: compiled once, then only their values change.

Compiling is most of what a small statement costs, so compiled statements are kept by SQLAlchemy's own cache key.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Dialect, Executable, TextClause
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

Processor = Callable[[Any], Any]
Row = dict[str, Any]

KEPT = 500
"""How many compiled statements are kept, the most recently used ones."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and values as a driver takes them.

    `returns_rows` is None where only the database knows: for text.
    """

    sql: str
    arguments: tuple[Any, ...]
    returns_rows: bool | None
    columns: "Columns"


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a result's columns, and what turns a driver's values into Python's."""

    names: tuple[str, ...]
    processors: tuple[tuple[str, Processor], ...]

    def row(self, names: Sequence[str], values: Sequence[Any]) -> Row:
        """One row as a dict; `names` are the driver's, used where the statement did not say."""
        row = dict(zip(self.names or names, values, strict=True))
        for name, process in self.processors:
            row[name] = process(row[name])
        return row


_NO_COLUMNS = Columns((), ())


class Compiler:
    """Compiles for one dialect, and remembers."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._kept: OrderedDict[Any, tuple[SQLCompiler, Columns]] = OrderedDict()

    def prepare(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Statement:
        """Make a statement ready; `parameters` are values for its named binds, or columns of an INSERT or UPDATE."""
        element = cast(ClauseElement, statement)
        if getattr(element, "is_ddl", False):
            return Statement(str(element.compile(dialect=self.dialect)), (), False, _NO_COLUMNS)
        names = tuple(parameters or ())
        key = element._generate_cache_key()
        compiled, columns = self._compiled(element, key, names)
        extracted = None if key is None else key.bindparams
        values = compiled.construct_params(dict(parameters or {}), extracted_parameters=extracted)
        sql, arguments = _finish(compiled, values)
        rows = None if isinstance(statement, TextClause) else bool(columns.names)
        return Statement(sql, arguments, rows, columns)

    def prepare_many(
        self, statement: Executable, parameters: Sequence[Mapping[str, Any]]
    ) -> tuple[str, list[tuple[Any, ...]]]:
        """The SQL and one tuple of values for each of `parameters`, which all have the same names."""
        element = cast(ClauseElement, statement)
        key = element._generate_cache_key()
        compiled, _ = self._compiled(element, key, tuple(parameters[0]))
        extracted = None if key is None else key.bindparams
        rows = [
            _bound(compiled, compiled.construct_params(dict(one), extracted_parameters=extracted)) for one in parameters
        ]
        return compiled.string, rows

    def _compiled(self, element: ClauseElement, key: Any, names: tuple[str, ...]) -> tuple[SQLCompiler, Columns]:
        if key is None:
            return self._compile(element, None, names)
        place = (key.key, names)
        found = self._kept.get(place)
        if found is None:
            found = self._kept[place] = self._compile(element, key, names)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(place)
        return found

    def _compile(self, element: ClauseElement, key: Any, names: tuple[str, ...]) -> tuple[SQLCompiler, Columns]:
        compiled = element.compile(dialect=self.dialect, cache_key=key, column_keys=list(names) or None)
        return cast(SQLCompiler, compiled), self._columns(cast(SQLCompiler, compiled))

    def _columns(self, compiled: SQLCompiler) -> Columns:
        entries = compiled._result_columns
        processors = []
        for entry in entries:
            process = entry.type.dialect_impl(self.dialect).result_processor(self.dialect, None)
            if process is not None:
                processors.append((entry.keyname, cast(Processor, process)))
        return Columns(tuple(entry.keyname for entry in entries), tuple(processors))


def _finish(compiled: SQLCompiler, values: MutableMapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """The SQL with its lists (`IN`) written out, and the values in order."""
    if not compiled.post_compile_params:
        return compiled.string, _bound(compiled, values)
    expanded = compiled._process_parameters_for_postcompile(values)
    processors = {**compiled._bind_processors, **expanded.processors}
    return expanded.statement, _processed(expanded.positiontup or (), expanded.parameters, processors)


def _bound(compiled: SQLCompiler, values: Mapping[str, Any]) -> tuple[Any, ...]:
    return _processed(compiled.positiontup or (), values, compiled._bind_processors)


def _processed(names: Sequence[str], values: Mapping[str, Any], processors: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(processors[name](values[name]) if name in processors else values[name] for name in names)
