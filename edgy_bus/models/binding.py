"""Join the fields of a model class with its annotations: what is annotated is what one gets."""

import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ForwardRef

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from edgy_bus.database import Converted, as_utc
from edgy_bus.errors import ModelError
from edgy_bus.models.annotations import (
    Annotation,
    Stripped,
    consists_of,
    is_unresolved,
    shown,
    stripped,
    union_of,
)
from edgy_bus.models.conversions import Adapter, adapter_of, conversion_of, holds_secret
from edgy_bus.models.fields import NONE_PASSES, Field, Kind, field_of
from edgy_bus.models.rules import AtMost, KeyOf
from edgy_bus.sources import Value

ModelClass = type[pydantic.BaseModel]
"""The class of a model. `Model` stands above this module."""

_SUITABLE: Mapping[Annotation, str] = {
    bool: "BooleanField()",
    int: "IntegerField() or BigIntegerField()",
    float: "FloatField()",
    Decimal: "DecimalField(max_digits=…, decimal_places=…)",
    str: "CharField(max_length=…) or TextField()",
    bytes: "BinaryField()",
    uuid.UUID: "UUIDField()",
    dt.date: "DateField()",
    dt.datetime: "DateTimeField()",
    dt.time: "TimeField()",
    dt.timedelta: "DurationField()",
}
"""The field functions for the types of Python that have a column of their own."""


def bound_fields(model: ModelClass, *, resolved: bool) -> dict[str, Field]:
    """Return the fields by name, with the conversions that their annotations need.

    Args:
        model: the class.
        resolved: whether the annotations are final; those of a generic class are not.

    Raises:
        ModelError: for an attribute that is no field, and an annotation that does not fit.
    """
    declared = {name: _declared(model, name, info) for name, info in model.model_fields.items()}
    if not resolved:
        return declared
    bound: dict[str, Field] = {}
    # Keys first, because a reference to the model itself has the type of its key.
    for name in sorted(declared, key=lambda name: not declared[name].primary_key):
        info, field = model.model_fields[name], declared[name]
        where = f"{model.__name__}.{name}"
        annotated = _annotation(info, field, where)
        if field.references is not None:
            bound[name] = _reference(field, annotated.type, bound, model, where)
        else:
            metadata = [*annotated.metadata, *_given_metadata(field, info)]
            bound[name] = _bound(field, annotated.type, metadata, model, where)
        _check_default(bound[name], info, where)
        if bound[name].secret:
            info.repr = False
    return {name: bound[name] for name in declared}


def _declared(model: ModelClass, name: str, info: FieldInfo) -> Field:
    field = field_of(info)
    if field is None:
        raise ModelError(
            f"{model.__name__}.{name} is annotated but not a field: "
            f"write `{name}: {shown(info.annotation)} = edgy_bus.CharField(max_length=…)` or the "
            "like"
        )
    return field


def _check_default(field: Field, info: FieldInfo, where: str) -> None:
    """Check that a default is a value of the annotation: pydantic validates no default."""
    default = info.default
    if field.adapter is None or default is None or default is PydanticUndefined:
        return
    try:
        field.adapter.validate_python(default)
    except pydantic.ValidationError:
        # Without the value, which may be a secret.
        raise ModelError(
            f"{where} has a default of type {type(default).__name__}, which is no value of "
            f"{shown(field.annotation)}: mend the default or the annotation"
        ) from None


def _annotation(info: FieldInfo, field: Field, where: str) -> Stripped:
    """Return the annotated type without None, which must agree with `null`."""
    annotated = stripped(info.annotation)
    if isinstance(annotated.type, ForwardRef) or is_unresolved(annotated.type):
        raise ModelError(
            f"{where} is annotated with {shown(annotated.type)}, which is no type yet: "
            "declare the type before the model, or derive from the generic model with a type, "
            "Base[int]"
        )
    if annotated.allows_none and not field.null and not field.is_made:
        raise ModelError(
            f"{where} is annotated with None, but its column is NOT NULL: "
            "add null=True, or take None out of the annotation"
        )
    return annotated


def _reference(
    field: Field,
    annotation: Annotation,
    bound: Mapping[str, Field],
    model: ModelClass,
    where: str,
) -> Field:
    """Return a foreign key with the type of the key that it contains."""
    rules = field.rules
    if field.references == "self":
        keys = [key for key in bound.values() if key.primary_key]
        # An abstract model may have no key; its children are bound again.
        if not keys:
            return field
        key, target = keys[0], '"self"'
        rules = (*key.rules_of_values, KeyOf(model))
    else:
        meta = field.references.meta
        key, target = meta.fields[meta.pk], meta.name
    if annotation != key.annotation:
        name = where.rpartition(".")[2]
        null = " | None" if field.null else ""
        raise ModelError(
            f"{where} is annotated with {shown(annotation)}, but a foreign key contains the key: "
            f"write `{name}: {shown(key.annotation)}{null} = edgy_bus.ForeignKey({target})`; "
            f'`await instance.related("{name}")` loads the row'
        )
    return replace(
        field,
        kind=key.kind,
        column_type=key.column_type,
        annotation=annotation,
        conversion=key.conversion,
        adapter=key.adapter,
        rules=rules,
    )


def _bound(
    field: Field,
    annotation: Annotation,
    metadata: Sequence[Value],
    model: ModelClass,
    where: str,
) -> Field:
    kind = field.kind
    # pydantic then gives instances the members' values, so that nothing needs a conversion.
    if model.model_config.get("use_enum_values"):
        annotation = _values_of(annotation)
    if kind.natural is not object and consists_of(annotation, kind.natural):
        adapter = _natural_adapter(kind.natural)
        return replace(field, annotation=kind.natural, adapter=adapter)
    # Without a type, no value would be validated, and each database would store its own idea of it.
    if annotation in (Any, object) and kind.natural is not object:
        raise _misfit(kind, annotation, where)
    if kind.choices is not None and annotation is not kind.choices:
        raise _misfit(kind, annotation, where)
    adapter = adapter_of(annotation, metadata, where)
    conversion = conversion_of(annotation, kind.natural, adapter, where)
    if conversion is None:
        raise _misfit(kind, annotation, where)
    is_secret = field.secret or holds_secret(annotation)
    if field.primary_key and is_secret:
        raise ModelError(
            f"{where} is annotated with {shown(annotation)}, but a primary key cannot be secret: "
            "events name their row by the key"
        )
    rules = [
        replace(rule, dump=conversion.dump) if isinstance(rule, AtMost) else rule
        for rule in field.rules
    ]
    return replace(
        field,
        rules=tuple(rules),
        annotation=annotation,
        adapter=adapter,
        conversion=conversion,
        column_type=Converted(kind.column_type, conversion),
        secret=is_secret,
    )


def _values_of(annotation: Annotation) -> Annotation:
    """Return the type of an Enum's values, which instances hold with `use_enum_values`."""
    if not isinstance(annotation, type) or not issubclass(annotation, enum.Enum):
        return annotation
    types = {type(member.value) for member in annotation}
    return types.pop() if len(types) == 1 else annotation


def _given_metadata(field: Field, info: FieldInfo) -> list[Value]:
    """Return the metadata of the application: validators and serializers of the annotation."""
    # By identity: the application may give an equal rule.
    added = {id(part) for part in (field, NONE_PASSES, *field.rules)}
    return [part for part in info.metadata if id(part) not in added]


@cache
def _natural_adapter(natural: type) -> Adapter:
    return pydantic.TypeAdapter(natural)


def _misfit(kind: Kind, annotation: Annotation, where: str) -> ModelError:
    name = where.rpartition(".")[2]
    natural = shown(kind.choices or kind.natural)
    suitable = _SUITABLE.get(annotation)
    if suitable is None and annotation not in (Any, object) and kind.choices is None:
        suitable = "JSONField()"
    use = f", or use {suitable}" if suitable else ""
    return ModelError(
        f"{where} is annotated with {shown(annotation)}, but {kind.function} contains "
        f"{natural}: write `{name}: {natural}`{use}"
    )


# Rules


def complete_rules(model: ModelClass, fields: Mapping[str, Field]) -> None:
    """Give pydantic the rules that are complete only with the class: lengths, and own keys."""
    is_changed = False
    for name, field in fields.items():
        info = model.model_fields[name]
        declared = _declared(model, name, info)
        if field.rules != declared.rules:
            info.metadata = _with_rules(info.metadata, declared, field.rules)
            is_changed = True
    if is_changed:
        # The class exists only now, so pydantic has to build its validators again.
        model.model_rebuild(force=True)


def _with_rules(
    metadata: Sequence[Value], declared: Field, rules: tuple[object, ...]
) -> list[Value]:
    # A new list, because a derived class may share the list of its parent.
    replaced = {id(rule) for rule in declared.rules}
    changed: list[Value] = []
    for part in metadata:
        if part is declared:
            changed += [replace(declared, rules=rules), *rules]
        elif id(part) not in replaced:
            changed.append(part)
    return changed


# Events


def readable(field: Field) -> Annotation:
    """Return the annotation with which pydantic reads the field from an event.

    It converts types, and contains no rule of the field.
    """
    natural: Annotation = field.kind.natural
    load = None if field.conversion is None else field.conversion.load
    if natural is bytes:
        # pydantic would read base64 as the bytes of the text.
        natural = pydantic.Base64Bytes
    elif natural is dt.datetime:
        load = as_utc
    elif natural is object:
        natural = field.annotation if load is None else Any
    optional = union_of([natural, None])
    if load is None:
        return optional
    return Annotated[optional, pydantic.AfterValidator(_PassingNone(load))]


class _PassingNone:
    """Call a function with every value but None."""

    def __init__(self, load: Any) -> None:
        self._load = load

    def __call__(self, value: Value) -> Value:
        return None if value is None else self._load(value)
