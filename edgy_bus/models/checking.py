"""The validation of the values that an application gives to rows.

A value is validated once: at the construction, in `update(…)`, or at the save that writes an
assigned attribute. pydantic validates a whole model or a single assignment, and neither fits: the
fields of a row from the database, and values that were validated before, must not pass validators
again, but the rules of the whole row and `info.data` need them. So each model has more validators,
which are built from the schema that pydantic made of the class:

- `row` validates a whole row. A value that the caller trusts passes its field unchanged.
- `early` is the same, but leaves out rules that run after the fields (`mode="after"`).
- `parts` validates some fields without the others, for the update of a set of rows.
- `defaults` holds a default to the type and the limits of its field. The validators of the
  application do not see it, as in pydantic.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import cache, cached_property
from typing import Annotated, Any, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    ValidationError,
    WrapValidator,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, InitErrorDetails, SchemaValidator, core_schema

from edgy_bus.database import Row
from edgy_bus.models.state import remember_validation
from edgy_bus.sources import Value, Values

Schema = dict[str, Any]
"""A schema of pydantic-core, or a part of one."""

Definitions = dict[str, Schema]
"""The schemas to which other schemas refer, by name."""

_trusted: ContextVar[Values] = ContextVar("edgy_bus_trusted_values")
"""The values that the running validation takes as they are."""

_MISSING: Value = object()

_NAMED_BY_APPLICATION = (AfterValidator, BeforeValidator, PlainValidator, WrapValidator)


class Checker:
    """The validators of a model. Each is built when it is first needed."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        # A model with forward references is complete after this call, or raises pydantic's error.
        model.model_rebuild()
        declared: Value = model.__pydantic_core_schema__
        self._definitions = _definitions(declared)
        self._schema = _inlined(declared, self._definitions)
        self._names = frozenset(model.model_fields)

    # The use

    def row(self, values: Values, trusted: Values) -> Row:
        """Return a validated row, with the rules of the whole row.

        Args:
            values: the values of all fields.
            trusted: the values that are valid. A rule may replace one; then it is validated.

        Raises:
            pydantic.ValidationError: a value or the whole row is not valid.
        """
        return _run(self._row, values, trusted)

    def early(self, values: Values, trusted: Values) -> Row:
        """Return a row as `row` does, but without the rules that run after the fields."""
        return _run(self._early, values, trusted)

    def parts(self, values: Values) -> Row:
        """Return validated values of some fields, each for itself.

        A validator that asks `info.data` for a field that is not among the values is left out: it
        compares fields of one row, and an update of a set knows no row. `info.data.get(…)` returns
        the default for such a field.
        """
        checked: Row = self._parts.validate_python(dict(values))
        return checked

    def defaults(self, values: Values) -> Row:
        """Return default values, held to the types and the limits of their fields."""
        checked: Row = self._defaults.validate_python(dict(values))
        return checked

    @cached_property
    def is_plain(self) -> bool:
        """Return whether no rule and no validator looks at more than one field."""
        schema = self._schema
        if schema["type"] != "model" or schema["schema"]["type"] != "model-fields":
            return False
        # A `model_post_init` of the application may refuse a row, too.
        if has_own_hook(self._model):
            return False
        fields = schema["schema"]["fields"].values()
        return not any(_reads_data(field["schema"]) for field in fields)

    @cached_property
    def has_later_rules(self) -> bool:
        """Return whether a rule of the whole row runs after the fields."""
        return has_own_hook(self._model) or any(
            part["type"] == "function-after" for part in _chain(self._schema)
        )

    # The making

    @cached_property
    def _row(self) -> SchemaValidator:
        return self._made(_rebuilt(self._schema, early=False))

    @cached_property
    def _early(self) -> SchemaValidator:
        return self._made(_rebuilt(self._schema, early=True))

    @cached_property
    def _parts(self) -> SchemaValidator:
        fields = _fields(self._schema)
        return self._of_fields(
            {
                name: _tolerant(_without_default(schema), self._names)
                for name, schema in fields.items()
            }
        )

    @cached_property
    def _defaults(self) -> SchemaValidator:
        types: Value = {
            name: (_declared_type(info), ...) for name, info in self._model.model_fields.items()
        }
        config = ConfigDict(**{**self._model.model_config, "title": None, "alias_generator": None})
        with warnings.catch_warnings():
            # Warnings about names of fields came with the declaration of the model.
            warnings.simplefilter("ignore")
            plain: Value = create_model(self._model.__name__, __config__=config, **types)
        schema = plain.__pydantic_core_schema__
        definitions = _definitions(schema)
        return self._of_fields(_fields(_inlined(schema, definitions)), definitions)

    def _of_fields(
        self, fields: Mapping[str, Schema], definitions: Definitions | None = None
    ) -> SchemaValidator:
        """Return the validator of a dictionary with any of the fields."""
        parts: Value = {
            name: {"type": "typed-dict-field", "schema": schema, "required": False}
            for name, schema in fields.items()
        }
        schema = core_schema.typed_dict_schema(parts, config=self._config)
        return self._made(schema, definitions)

    def _made(self, schema: Any, definitions: Definitions | None = None) -> SchemaValidator:
        parts = self._definitions if definitions is None else definitions
        if parts:
            schema = core_schema.definitions_schema(schema, list(parts.values()))
        # The configuration again: errors hide values only if the configuration stands here.
        return SchemaValidator(schema, self._config)

    @cached_property
    def _config(self) -> Any:
        [model] = [part for part in _chain(self._schema) if part["type"] == "model"]
        return {**model.get("config", {}), "title": self._model.__name__}


checker_of = cache(Checker)
"""Returns the validators of a model; they live as long as the process, as the class does."""


def remembering(model: type[BaseModel], schema: CoreSchema, initialise: str) -> CoreSchema:
    """Return the schema of a model whose instances remember the values that were validated.

    Args:
        model: the class of the instances.
        schema: the schema that pydantic made.
        initialise: the method to call after the validation of the fields, if the model's own code
            may change them then; it calls `model_post_init`.
    """
    # Once only: for a class that is a part of another model, pydantic asks again.
    if schema["type"] == "definition-ref" or _is_memory(schema):
        return schema
    if schema["type"] != "model" or has_own_hook(model):
        changed: Value = _initialised(dict(schema), initialise)
        schema = changed
    return core_schema.no_info_after_validator_function(remember_validation, schema)


def has_own_hook(model: type[BaseModel]) -> bool:
    """Return whether the application's `model_post_init` sees every instance."""
    return model.model_post_init.__name__ != "init_private_attributes"


def _initialised(schema: Schema, method: str) -> Schema:
    if schema["type"] == "model":
        return {**schema, "post_init": method}
    if "schema" not in schema:
        return schema
    return {**schema, "schema": _initialised(schema["schema"], method)}


def refuse_frozen(model: type[BaseModel], values: Iterable[str]) -> None:
    """Raise pydantic's error for an assignment to a field that may not change, without the value.

    Raises:
        pydantic.ValidationError: the model, or one of the fields, is frozen.
    """
    if model.model_config.get("frozen"):
        errors = [_frozen("frozen_instance", name) for name in values]
    else:
        frozen = [name for name in values if model.model_fields[name].frozen]
        errors = [_frozen("frozen_field", name) for name in frozen]
    if errors:
        _raise(model, errors)


def refuse_frozen_assignment(model: type[BaseModel], error: ValidationError) -> None:
    """Raise pydantic's error of an assignment to a frozen field without the value.

    pydantic's own error shows the value, although the models hide values in errors.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    frozen = [
        _frozen(detail["type"], str(detail["loc"][0]))
        for detail in details
        if detail["type"] in ("frozen_field", "frozen_instance")
    ]
    if frozen:
        _raise(model, frozen)


def _frozen(kind: str, name: str) -> InitErrorDetails:
    return InitErrorDetails(type=kind, loc=(name,), input=None)


def _raise(model: type[BaseModel], errors: list[InitErrorDetails]) -> NoReturn:
    raise ValidationError.from_exception_data(model.__name__, errors, hide_input=True) from None


def _run(validator: SchemaValidator, values: Values, trusted: Values) -> Row:
    token = _trusted.set(trusted)
    try:
        checked = validator.validate_python(dict(values))
    finally:
        _trusted.reset(token)
    row: Row = checked.__dict__
    return row


# Schemas


def _definitions(schema: Mapping[str, Value]) -> Definitions:
    return {part["ref"]: part for part in schema.get("definitions", ())}


def _inlined(schema: Mapping[str, Value], definitions: Definitions) -> Schema:
    """Return the schema of a model as a chain that ends at the fields.

    Without references, and without the memory of the instances, which a validation of a row does
    not make.
    """
    kind = schema["type"]
    if kind == "definitions" or _is_memory(schema):
        return _inlined(schema["schema"], definitions)
    if kind == "definition-ref":
        return _inlined(definitions[schema["schema_ref"]], definitions)
    # A definition keeps the name. Two schemas of one name are refused.
    schema = {key: value for key, value in schema.items() if key != "ref"}
    if kind == "model-fields":
        return schema
    if kind == "model":
        # An `__init__` of the application would validate everything again.
        schema |= {"custom_init": False, "post_init": "model_post_init"}
    return {**schema, "schema": _inlined(schema["schema"], definitions)}


def _chain(schema: Schema) -> list[Schema]:
    """Return the schemas around the fields of a model, and last the schema of the fields."""
    chain = [schema]
    while chain[-1]["type"] != "model-fields":
        chain.append(chain[-1]["schema"])
    return chain


def _fields(schema: Schema) -> dict[str, Schema]:
    fields = _chain(schema)[-1]["fields"]
    return {name: field["schema"] for name, field in fields.items()}


def _rebuilt(schema: Schema, *, early: bool) -> Schema:
    """Return the schema of a model whose fields take trusted values as they are."""
    if schema["type"] == "model-fields":
        # Without aliases: a row has the names of the fields.
        fields = {
            name: {"type": "model-field", "schema": _passing_trusted(name, field["schema"])}
            for name, field in schema["fields"].items()
        }
        return {**schema, "fields": fields}
    inner = _rebuilt(schema["schema"], early=early)
    if not early:
        return {**schema, "schema": inner}
    if schema["type"] == "function-after":
        return inner
    return {**{key: part for key, part in schema.items() if key != "post_init"}, "schema": inner}


def _passing_trusted(name: str, schema: Schema) -> Schema:
    """Return the schema of a field that takes a trusted value as it is."""

    def check(value: Value, handler: Callable[[Value], Value]) -> Value:
        # The same object, and not an equal value: a rule may have replaced the trusted one.
        if _trusted.get().get(name, _MISSING) is value:
            return value
        return handler(value)

    function = {"type": "no-info", "function": check}
    return {"type": "function-wrap", "function": function, "schema": schema}


def _is_memory(schema: Mapping[str, Value]) -> bool:
    function = schema.get("function")
    return isinstance(function, dict) and function.get("function") is remember_validation


def _without_default(schema: Schema) -> Schema:
    """Return the schema of a field without its default: a missing field stays missing."""
    if schema["type"] == "default":
        return _without_default(schema["schema"])
    if "schema" in schema and schema["type"].startswith("function-"):
        return {**schema, "schema": _without_default(schema["schema"])}
    return schema


def _declared_type(info: FieldInfo) -> Any:
    """Return the type of a field with its limits, but without the application's validators."""
    kept = tuple(part for part in info.metadata if not _is_of_application(part))
    return Annotated[(info.annotation, *kept)] if kept else info.annotation


def _is_of_application(part: object) -> bool:
    if not isinstance(part, _NAMED_BY_APPLICATION):
        return False
    return not getattr(part.func, "__module__", "").startswith(f"{__package__}.")


# Validators that look at other fields


def _reads_data(schema: Mapping[str, Value]) -> bool:
    """Return whether a validator of the field gets the other fields."""
    function = schema.get("function")
    if isinstance(function, dict) and function["type"] == "with-info":
        return True
    if "schema" in schema:
        return _reads_data(schema["schema"])
    # A default that is made from the other fields belongs to the construction alone.
    return False


class _Unknown(KeyError):
    """A validator asked for a field that the update of a set does not know."""


class _Data(dict[str, Value]):
    """The fields that were validated before; a field that has no value leaves the validator out."""

    def __init__(self, data: Values, names: frozenset[str]) -> None:
        super().__init__(data)
        self._names = names

    def __missing__(self, name: str) -> Value:
        # A misspelt name is the error that it is elsewhere.
        raise _Unknown(name) if name in self._names else KeyError(name)


class _Info:
    """pydantic's `ValidationInfo` with such data."""

    def __init__(self, info: Any, names: frozenset[str]) -> None:
        self._info = info
        self.data = _Data(info.data or {}, names)

    def __getattr__(self, name: str) -> Value:
        return getattr(self._info, name)


def _tolerant(schema: Schema, names: frozenset[str]) -> Schema:
    """Return a field's schema whose validators are left out where they ask for unknown fields."""
    if "schema" in schema:
        schema = {**schema, "schema": _tolerant(schema["schema"], names)}
    function = schema.get("function")
    if isinstance(function, dict) and function["type"] == "with-info":
        call = _left_out(function["function"], names)
        if schema["type"] == "function-wrap":
            call = _wrap_left_out(function["function"], names)
        schema = {**schema, "function": {**function, "function": call}}
    return schema


def _left_out(function: Callable[..., Value], names: frozenset[str]) -> Callable[..., Value]:
    def call(value: Value, info: Any) -> Value:
        try:
            return function(value, _Info(info, names))
        except _Unknown:
            return value

    return call


def _wrap_left_out(function: Callable[..., Value], names: frozenset[str]) -> Callable[..., Value]:
    def call(value: Value, handler: Callable[[Value], Value], info: Any) -> Value:
        try:
            return function(value, handler, _Info(info, names))
        except _Unknown:
            return handler(value)

    return call
