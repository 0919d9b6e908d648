"""Compile SQLAlchemy statements for a driver once; later executions change only the values.

Compilation is most of the cost of a small statement. Compiled statements are kept under the cache
key of SQLAlchemy (`ClauseElement._generate_cache_key`), which is equal for statements that differ
only in their values.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

from sqlalchemy import (
    BindParameter,
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
from sqlalchemy.sql.cache_key import CacheKey
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.ddl import BaseDDLElement
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.functions import FunctionElement

Processor = Callable[[Any], Any]
"""Converts a value between Python and the driver."""

Row = dict[str, Any]
"""A row of a result: values of Python's types by column name."""

Parameters = Mapping[str, object]
Arguments = tuple[object, ...]
"""The values of a statement in the order of the driver's placeholders."""

_Values = MutableMapping[str, object]
"""The values of a statement by the names of its binds; SQLAlchemy wants a mutable mapping."""

KEPT = 500
"""How many compiled statements are kept; the least recently used is dropped first."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Statement:
    """Hold SQL and values in the form that a driver takes.

    Attributes:
        sql: the text, with the driver's placeholders.
        arguments: a value for each placeholder, in order.
        returns_rows: None for a statement of text, where only the database knows.
        columns: the columns of the result.
        harmless: True if the statement cannot change the state of its session; the connection
            needs no reset after such a statement.
    """

    sql: str
    arguments: Arguments
    returns_rows: bool | None
    columns: "Columns"
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """Hold the names of a result's columns, and the conversions to Python's types."""

    names: tuple[str, ...]
    processors: tuple[tuple[str, Processor], ...]

    def row(self, names: Sequence[str], values: Iterable[object]) -> Row:
        """Build a row from a driver's values; `names` of the driver serve statements of text."""
        row: Row = dict(zip(self.names or names, values, strict=True))
        for name, process in self.processors:
            row[name] = process(row[name])
        return row


_NO_COLUMNS = Columns((), ())


class _Argument(NamedTuple):
    """Say where an argument comes from: from the parameter `name`, or, without, the constant."""

    name: str | None
    constant: object
    process: Processor | None


@dataclass(frozen=True, slots=True)
class _Settled:
    """Hold the parts of a statement that stay the same in every execution."""

    sql: str
    arguments: tuple[_Argument, ...]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """Hold the result of compilation, which all statements of a shape share."""

    compiler: SQLCompiler
    columns: Columns
    harmless: bool


@dataclass(frozen=True, slots=True)
class _Ready:
    """Hold a compiled statement with the constants of the statement to be executed."""

    shared: _Compiled
    constants: Sequence[BindParameter[Any]] | None
    settled: _Settled | None = None

    def values(self, parameters: Parameters) -> _Values:
        """Return all named values: the constants of this statement and the parameters."""
        # The compiled form belongs to the first statement of this shape. Without the extracted
        # parameters, every later statement would be executed with the constants of the first.
        return self.shared.compiler.construct_params(
            dict(parameters), extracted_parameters=self.constants
        )

    def finish(self, parameters: Parameters) -> tuple[str, Arguments]:
        """Return the SQL and the values in the form that the driver takes."""
        if self.settled is None:
            return _finish(self.shared.compiler, self.values(parameters))
        # The path of every statement that is executed again: no look into SQLAlchemy's structures.
        values: list[object] = []
        for name, constant, process in self.settled.arguments:
            if name is None:
                values.append(constant)
            elif process is None:
                values.append(parameters[name])
            else:
                values.append(process(parameters[name]))
        return self.settled.sql, tuple(values)


class Compiler:
    """Compile statements for a dialect, and keep the most recently used results.

    Not safe for several threads; a database belongs to one event loop.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._by_shape: OrderedDict[tuple[object, ...], _Compiled] = OrderedDict()
        self._by_statement: OrderedDict[tuple[object, ...], _Ready] = OrderedDict()

    def prepare(self, statement: Executable, parameters: Parameters | None = None) -> Statement:
        """Make a statement ready for the driver.

        Args:
            statement: any SQLAlchemy statement, DDL included.
            parameters: values for named binds, or for columns of an INSERT or UPDATE. Pass them
                for a statement object that is executed many times.

        Raises:
            InvalidRequestError: SQLAlchemy's error for a bind without a value.
        """
        element = cast(ClauseElement, statement)
        if isinstance(element, BaseDDLElement):
            return Statement(str(element.compile(dialect=self.dialect)), (), False, _NO_COLUMNS)
        ready = self._ready(element, None if parameters is None else tuple(parameters))
        sql, arguments = ready.finish(parameters or {})
        columns = ready.shared.columns
        returns_rows = None if isinstance(statement, TextClause) else bool(columns.names)
        return Statement(sql, arguments, returns_rows, columns, ready.shared.harmless)

    def prepare_many(
        self, statement: Executable, parameters: Sequence[Parameters]
    ) -> tuple[str, list[Arguments]]:
        """Return the SQL, and the values of each mapping; all mappings have the same names."""
        ready = self._ready(cast(ClauseElement, statement), tuple(parameters[0]))
        compiler = ready.shared.compiler
        return compiler.string, [_bound(compiler, ready.values(values)) for values in parameters]

    def _ready(self, element: ClauseElement, names: tuple[str, ...] | None) -> _Ready:
        """Find or compile a statement; with parameters, by the identity of the statement object."""
        if names is None:
            return self._compiled(element, names)
        # A caller that passes parameters executes the same object again and again: identity is
        # enough, and saves the cache key, which visits every node of the statement. The key of the
        # dict holds the statement itself, so that no later object can get the same identity.
        key = (element, names)
        ready = self._by_statement.get(key)
        if ready is None:
            ready = self._compiled(element, names)
            ready = replace(ready, settled=_settle(ready, names))
            _add(self._by_statement, key, ready)
        else:
            self._by_statement.move_to_end(key)
        return ready

    def _compiled(self, element: ClauseElement, names: tuple[str, ...] | None) -> _Ready:
        """Find or compile a statement by its shape."""
        cache_key = element._generate_cache_key()
        if cache_key is None:
            # SQLAlchemy cannot tell the shape, for example with a type that opts out of caching.
            return _Ready(self._compile(element, None, names), None)
        key = (cache_key.key, names)
        compiled = self._by_shape.get(key)
        if compiled is None:
            compiled = self._compile(element, cache_key, names)
            _add(self._by_shape, key, compiled)
        else:
            self._by_shape.move_to_end(key)
        return _Ready(compiled, cache_key.bindparams)

    def _compile(
        self, element: ClauseElement, cache_key: CacheKey | None, names: tuple[str, ...] | None
    ) -> _Compiled:
        # For an INSERT or UPDATE the names are the columns to write; a SELECT has no such columns.
        column_keys: list[str] | None = None
        if names is not None and not isinstance(element, Select | CompoundSelect):
            column_keys = list(names)
        compiled = element.compile(
            dialect=self.dialect, cache_key=cache_key, column_keys=column_keys
        )
        compiler = cast(SQLCompiler, compiled)
        return _Compiled(compiler, self._columns(compiler), is_harmless(element))

    def _columns(self, compiler: SQLCompiler) -> Columns:
        entries = compiler._result_columns
        processors = []
        for entry in entries:
            driver_type = entry.type.dialect_impl(self.dialect)
            process = driver_type.result_processor(self.dialect, None)
            if process is not None:
                processors.append((entry.keyname, cast(Processor, process)))
        return Columns(tuple(entry.keyname for entry in entries), tuple(processors))


def _add(cache: OrderedDict[K, V], key: K, value: V) -> None:
    """Store a value as the most recently used, and drop the least recently used if needed."""
    cache[key] = value
    if len(cache) > KEPT:
        cache.popitem(last=False)


_AGGREGATES = """
count sum min max avg total array_agg string_agg group_concat json_agg jsonb_agg json_object_agg
jsonb_object_agg bool_and bool_or every row_number rank dense_rank percent_rank ntile lag lead
first_value last_value
"""
_OF_TEXT = """
lower upper length char_length character_length octet_length left right trim ltrim rtrim btrim
substr substring replace translate concat concat_ws position strpos instr lpad rpad repeat reverse
split_part starts_with regexp_replace md5 encode decode hex printf quote to_tsvector to_tsquery
plainto_tsquery ts_rank
"""
_OF_NUMBERS = "abs ceil ceiling floor round trunc sign mod power sqrt greatest least"
_OF_TIMES = """
now current_timestamp current_date current_time localtime localtimestamp clock_timestamp
statement_timestamp transaction_timestamp timezone to_char to_timestamp to_date date_trunc date_part
extract isfinite age make_interval date time datetime julianday strftime unixepoch
"""
_OF_JSON = """
json json_build_object jsonb_build_object json_build_array jsonb_build_array to_json to_jsonb
row_to_json json_object json_array json_extract json_each json_type json_typeof jsonb_typeof
json_array_length jsonb_array_length json_array_elements jsonb_array_elements
jsonb_array_elements_text json_set jsonb_set jsonb_extract_path jsonb_extract_path_text
jsonb_strip_nulls jsonb_each
"""
_OF_ANYTHING = """
coalesce nullif ifnull cast typeof unnest generate_series array_length array_to_string cardinality
gen_random_uuid pg_backend_pid current_setting current_database current_schema current_user version
nextval pg_get_serial_sequence pg_get_expr to_regclass has_sequence_privilege
"""
_HARMLESS_FUNCTIONS = frozenset(
    (_AGGREGATES + _OF_TEXT + _OF_NUMBERS + _OF_TIMES + _OF_JSON + _OF_ANYTHING).split()
)
"""Functions that leave the session as it is; an unknown function may change the session."""


def is_harmless(element: ClauseElement) -> bool:
    """Return whether a statement cannot change its session: settings, locks, prepared statements.

    Only a SELECT, INSERT, UPDATE or DELETE without literal text and with known functions qualifies.
    """
    if not isinstance(element, Select | CompoundSelect | Insert | Update | Delete):
        return False
    return all(_is_harmless_part(part) for part in visitors.iterate(element))


def _is_harmless_part(part: visitors.ExternallyTraversible) -> bool:
    # Unknown functions count as harmful: `set_config` or `pg_advisory_lock` in a SELECT outlives
    # the statement, and the next task would get a connection with the setting or the lock.
    if isinstance(part, TextClause | TextualSelect):
        return False
    name = getattr(part, "name", "")
    if getattr(part, "is_literal", False):
        return bool(name == "*")
    return not isinstance(part, FunctionElement) or name in _HARMLESS_FUNCTIONS


def _settle(ready: _Ready, names: tuple[str, ...]) -> _Settled | None:
    """Find the origin of every argument, once for all executions of a statement.

    Args:
        ready: the statement with its constants.
        names: the names of the parameters.

    Returns:
        None if the SQL, or the number of arguments, depends on the values.
    """
    compiler = ready.shared.compiler
    origins = {
        name: bind.key if bind.key in names else name for bind, name in compiler.bind_names.items()
    }
    if _depends_on_values(compiler, {name for name, key in origins.items() if key in names}):
        return None
    constants = ready.values(dict.fromkeys(names))
    sql, order = _expand(compiler, constants)
    converters = _converters(compiler)
    arguments = []
    for bind_name in order:
        origin, process = origins[bind_name], converters.get(bind_name)
        if origin in names:
            arguments.append(_Argument(origin, None, process))
        else:
            constant = constants[bind_name]
            arguments.append(_Argument(None, process(constant) if process else constant, None))
    return _Settled(sql, tuple(arguments))


def _depends_on_values(compiler: SQLCompiler, parameters: Collection[str]) -> bool:
    """Return whether the SQL differs for other values of the parameters, given as bind names."""
    literals = compiler.literal_execute_params
    # A list (`IN`) gets a placeholder for each element, and a parameter that is rendered as a
    # literal becomes part of the SQL: both make another SQL text for other values.
    if compiler.post_compile_params - literals:
        return True
    if any(compiler.bind_names[bind] in parameters for bind in literals):
        return True
    # SQLAlchemy calls the function of such a parameter at every execution.
    return any(bind.callable is not None for bind in compiler.bind_names)


def _expand(compiler: SQLCompiler, values: _Values) -> tuple[str, Sequence[str]]:
    """Return the SQL with literals rendered, and the names of its placeholders in order."""
    if not compiler.literal_execute_params:
        return compiler.string, compiler.positiontup or ()
    expanded = compiler._process_parameters_for_postcompile(values)
    return expanded.statement, expanded.positiontup or ()


def _finish(compiler: SQLCompiler, values: _Values) -> tuple[str, Arguments]:
    """Return the SQL with its lists (`IN`) expanded, and the values in order."""
    if not (compiler.post_compile_params or compiler.literal_execute_params):
        return compiler.string, _bound(compiler, values)
    expanded = compiler._process_parameters_for_postcompile(values)
    converters = {**_converters(compiler), **cast("Mapping[str, Processor]", expanded.processors)}
    names = expanded.positiontup or ()
    return expanded.statement, _processed(names, expanded.parameters, converters)


def _bound(compiler: SQLCompiler, values: Parameters) -> Arguments:
    return _processed(compiler.positiontup or (), values, _converters(compiler))


def _converters(compiler: SQLCompiler) -> Mapping[str, Processor]:
    # SQLAlchemy's annotation allows sequences too, which only tuple-valued binds have.
    return cast("Mapping[str, Processor]", compiler._bind_processors)


def _processed(
    names: Sequence[str], values: Parameters, converters: Mapping[str, Processor]
) -> Arguments:
    arguments: list[object] = []
    for name in names:
        process = converters.get(name)
        arguments.append(process(values[name]) if process else values[name])
    return tuple(arguments)
