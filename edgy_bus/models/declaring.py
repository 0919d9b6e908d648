"""Read the declaration of a model class: its fields, its `Meta`, and the reader of its events."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import CoreConfig, SchemaValidator

from edgy_bus.database import Row
from edgy_bus.errors import ModelError
from edgy_bus.models.annotations import shown
from edgy_bus.models.binding import ModelClass, bound_fields, complete_rules, readable
from edgy_bus.models.checking import has_own_hook
from edgy_bus.models.fields import Field, field_of
from edgy_bus.models.meta import (
    MetaInfo,
    inherited_options,
    make_table,
    meta_is_no_class,
    options_of,
    publish_patterns,
)
from edgy_bus.models.registry import Registry
from edgy_bus.models.state import STATE
from edgy_bus.signals import Broadcaster, Route
from edgy_bus.sources import Values

if sys.version_info < (3, 12):
    from typing_extensions import TypedDict
else:
    from typing import TypedDict


def described(model: ModelClass, route: Route) -> MetaInfo:
    """Read the declaration of a model; its signals are sent by `route`.

    Raises `ModelError` for a wrong declaration.
    """
    name = model.__name__
    if "meta" in vars(model):
        raise ModelError(f"{name}.meta is made from `class Meta`: write the options there")
    inherited = [getattr(base, "meta", None) for base in model.__bases__]
    parents = [meta for meta in inherited if isinstance(meta, MetaInfo)]
    options = options_of(name, model.__dict__.get("Meta"), inherited_options(parents))
    registry = _registry_of(name, options.get("registry"))
    generic = model.__pydantic_generic_metadata__
    # `Base[int]` is a class that Python makes on the way to the model `class Item(Base[int])`.
    abstract = bool(options.get("abstract") or generic["parameters"] or generic["origin"])
    fields = bound_fields(model, resolved=not generic["parameters"])
    complete_rules(model, fields)
    tablename = options.get("tablename", f"{name.lower()}s")
    public = [key for key, field in fields.items() if not field.secret]
    signals = Broadcaster(name, route, [meta.signals for meta in parents], public)
    names = [signal.name for signal in signals]
    publish = publish_patterns(name, options.get("publish"), names)
    table = None
    # Last, because a table stays in the metadata: nothing may be refused after this.
    if registry is not None and not abstract:
        registry.require_free(name, model)
        table = make_table(name, tablename, fields, options, registry)
    return MetaInfo(
        name=name,
        sender=model,
        abstract=abstract,
        tablename=tablename,
        fields=fields,
        signals=signals,
        bound=registry,
        declared_table=table,
        options=options,
        publish=publish,
        plain=_is_plain(model),
    )


def _registry_of(name: str, declared: object) -> Registry | None:
    if declared is None or isinstance(declared, Registry):
        return declared
    raise ModelError(
        f"{name}.Meta.registry is of {type(declared).__name__}: write an edgy_bus.Registry(…)"
    )


_NOT_ANNOTATED = ("model-field-missing-annotation", "model-field-overridden")
"""Codes of pydantic's errors."""


def check_attributes(model: str, attributes: Values) -> None:
    """Check what pydantic would take, or refuse without a remedy, of a class about to be made.

    Raises `ModelError`.
    """
    for name, value in attributes.items():
        if name.startswith("_") and _declared_field(value) is not None:
            raise ModelError(
                f"{model}.{name}: the name of a field begins with no underscore: call the field "
                f"{name.lstrip('_') or 'value'!r}"
            )
    if "Meta" in attributes and "Meta" not in attributes.get("__annotations__", {}):
        _check_meta(model, attributes["Meta"], attributes.get("__qualname__", model))


def _declared_field(value: object) -> Field | None:
    return field_of(value) if isinstance(value, FieldInfo) else None


def _annotation_of(field: Field) -> str:
    """Return the annotation that a field function is meant for, as a program writes it."""
    natural = "int" if field.references is not None else shown(field.kind.natural)
    if field.kind.choices is not None:
        natural = shown(field.kind.choices)
    natural = "Any" if natural == "object" else natural
    return f"{natural} | None" if field.null else natural


def _function_of(field: Field) -> str:
    # The kind of a reference is the kind of the key.
    return "ForeignKey" if field.references is not None else field.kind.function


def _check_meta(model: str, declared: object, place: str) -> None:
    """Check that `Meta` is a class in the body of its model. pydantic would refuse other values."""
    if not isinstance(declared, type):
        raise ModelError(meta_is_no_class(model, declared))
    if not declared.__qualname__.startswith(f"{place}."):
        raise ModelError(
            f"{model}.Meta is a class from elsewhere: write "
            f"`class Meta({declared.__qualname__}): pass` in the class"
        )


def without_annotation(
    model: str, attributes: Values, error: PydanticUserError
) -> ModelError | None:
    """Return what pydantic's error about an attribute means; None for another error."""
    if error.code not in _NOT_ANNOTATED:
        return None
    for name, value in attributes.items():
        # pydantic's text alone says which attribute it does not take, in every version of Python.
        if not any(quoted in str(error) for quoted in (f"`{name} = ", f"`{name}`", f"'{name}'")):
            continue
        if (field := _declared_field(value)) is not None:
            remedy = f"write `{name}: {_annotation_of(field)} = edgy_bus.{_function_of(field)}(…)`"
        else:
            kind = type(value).__name__
            remedy = (
                f"for a field write `{name}: {kind} = edgy_bus.…Field(…)`, for an attribute of the "
                f"class `{name}: ClassVar[{kind}] = …`"
            )
        return ModelError(f"{model}.{name} has no annotation: {remedy}")
    return None


def refuse_names(model: str, names: Iterable[str], base: ModelClass) -> None:
    """Refuse fields with the names of attributes that `base`, the class `Model`, needs.

    Raises `ModelError`.
    """
    needed = _needed_names(base)
    for name in names:
        if name in needed:
            raise ModelError(
                f"{model}.{name}: Model has an attribute {name!r} of its own, which a field would "
                f"hide: call the field otherwise, for example {name}_"
            )


def missing_attribute(meta: MetaInfo, name: str) -> str:
    """Return the text of an error: the class of a model has no such attribute."""
    if name in meta.signals:
        return f"{meta.name} has no attribute {name!r}: write {meta.name}.meta.signals.{name}"
    if name in meta.fields:
        return f"{meta.name}.{name} is a field: instances have its values, the class has none"
    return (
        f"{meta.name} has no attribute {name!r}: its rows are {meta.name}.query, and its signals "
        f"{meta.name}.meta.signals"
    )


def _needed_names(base: ModelClass) -> set[str]:
    # Other attributes of pydantic's base class (`copy`, `json`) are deprecated, and nothing here
    # uses them: fields may have their names.
    names = {*vars(base), *base.__annotations__}
    names |= {name for name in dir(BaseModel) if name.startswith("model_")}
    return {name for name in names if not name.startswith("_")} | {"self"}


def _is_plain(model: ModelClass) -> bool:
    """Return whether pydantic alone makes instances, so that `from_row` may do the same faster."""
    if model.model_config.get("extra") == "allow":
        return False
    # A private attribute or a `model_post_init` of the user's must see every instance.
    return list(model.__private_attributes__) == [STATE] and not has_own_hook(model)


Reader = Callable[[Values], Row]
"""Returns the known fields of a row, with the types of the fields."""

_readers: dict[ModelClass, Reader] = {}


def reader_of(model: ModelClass, fields: Mapping[str, Field]) -> Reader:
    """Return a function that reads a row of an event, which may lack fields or have unknown ones.

    The function raises `pydantic.ValidationError`.
    """
    reader = _readers.get(model)
    if reader is None:
        # Not total, because a field may be younger than the event. A dictionary costs a quarter of
        # an instance of a pydantic model, and this runs for every call of a receiver.
        members = {name: readable(field) for name, field in fields.items()}
        make: Any = TypedDict
        row = make(f"{model.__name__}Row", members, total=False)
        row.__pydantic_config__ = ConfigDict(extra="ignore", arbitrary_types_allowed=True)
        # An adapter hides no values of a dictionary from its errors.
        hidden = CoreConfig(hide_input_in_errors=True)
        validator = SchemaValidator(TypeAdapter(row).core_schema, hidden)
        reader = _readers[model] = validator.validate_python
    return reader
