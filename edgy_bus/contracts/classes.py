"""Write pydantic classes for the consumers of a contract, as the text of a Python module.

The module imports pydantic and the standard library only. Unknown fields are ignored, and unknown
types of events are skipped, so that a change that is not breaking breaks nothing.
"""

import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from edgy_bus.contracts.reading import Reading, properties_of, referred
from edgy_bus.contracts.shapes import ATTRIBUTES, reference
from edgy_bus.sources import Schema

_WIDTH = 96

_FORMATS: Mapping[str, str] = {
    "uuid": "UUID",
    "decimal": "Decimal",
    "date": "dt.date",
    "date-time": "dt.datetime",
    "time": "dt.time",
    "duration": "dt.timedelta",
    "seconds": "dt.timedelta",
}
"""Python types of texts and numbers, by the format of their schema."""

_PLAIN: Mapping[str, str] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}

_HEAD = """\
\"\"\"Events of the service {title}, for consumers.

Made by `edgy-bus schema classes`: make it anew, and do not edit it.
\"\"\"

from __future__ import annotations

{standard}

{pydantic}

__all__ = [
{names}
]

T = TypeVar("T")


class Change(BaseModel, Generic[T]):
    \"\"\"Both values of a changed field. `old` is missing in `model_fields_set` if unknown.\"\"\"

    old: T | None = None
    new: T
"""

# `Change` needs some names even where no class does.

_STANDARD: Mapping[str, Sequence[str]] = {
    "import datetime as dt": ["dt"],
    "import json": [],
    "from decimal import Decimal": ["Decimal"],
    "from typing import Annotated": ["Annotated"],
    "from typing import Any, Generic, Literal, TypeVar": [],
    "from uuid import UUID": ["UUID"],
}

_PYDANTIC: Mapping[str, Sequence[str]] = {
    "from pydantic import AliasPath": ["AliasPath"],
    "from pydantic import Base64Bytes": ["Base64Bytes"],
    "from pydantic import BaseModel, ConfigDict": [],
    "from pydantic import Field": ["Field"],
    "from pydantic import JsonValue": ["JsonValue"],
    "from pydantic import TypeAdapter": [],
}

_READER = '''\
AnyEvent = {union}

_EVENTS: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)

_TYPES = frozenset(
    {{
{types}
    }}
)


def read_event(head: str | bytes, data: str | bytes) -> AnyEvent | None:
    """Return the event of a stream entry, from its fields `head` and `data`.

    Returns None for a type of event that the contract did not have when this module was made.
    Raises ValueError, also as pydantic's ValidationError, for an event that breaks the contract.
    """
    attributes: Any = json.loads(head)
    if attributes.get("type") not in _TYPES:
        return None
    return _EVENTS.validate_python({{**attributes, "data": json.loads(data)}})
'''


def classes(reading: Reading) -> str:
    """Return the module of a contract's classes.

    Raises:
        ConfigurationError: for a reference to a definition that the document does not have.
    """
    return _Module(reading).text()


def plain_type(reading: Reading, schema: Schema) -> str:
    """Return the Python type of a field, for people.

    Raises:
        ConfigurationError: for a reference to a definition that the document does not have.
    """
    return _Module(reading).type_of(schema)


class _Module:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        # In the order of their use, so that every alias stands behind the names in the alias.
        self._blocks: list[str] = []
        self._names: dict[str, str] = {}
        """The Python name of every definition that is written, or being written."""
        self._taken = {"AnyEvent", "Change"}
        """The names of the module's classes and types."""
        self._open: set[str] = set()
        """Definitions whose block is not complete."""

    def text(self) -> str:
        self._use(ATTRIBUTES)
        # First, because every event derives from this class.
        events = [self._event(message) for message in sorted(self._reading.messages)]
        # A name for the union alone: pydantic discriminates between two classes at least.
        union = events[0] if len(events) == 1 else _union_of(events)
        types = "\n".join(f'        "{message}",' for message in sorted(self._reading.messages))
        names = sorted({*self._names.values(), *events, "AnyEvent", "Change", "read_event"})
        body = "\n\n".join([*self._blocks, _READER.format(union=union, types=types)])
        head = _HEAD.format(
            title=self._reading.title,
            standard="\n".join(_imports(_STANDARD, body)),
            pydantic="\n".join(_imports(_PYDANTIC, body)),
            names="\n".join(f'    "{name}",' for name in names),
        )
        return f"{head}\n\n{body}"

    def type_of(self, schema: Schema) -> str:
        """Return the annotation of a schema."""
        return self._type(schema, "Value")

    def _event(self, message: str) -> str:
        name = self._new_name(message)
        data = self._type(self._reading.messages[message], f"{name}Data")
        # The literal tells the members of the union apart.
        lines = [f'type: Literal["{message}"]', f"data: {data}"]
        self._blocks.append(_class(name, "Event", "", lines))
        return name

    def _use(self, definition: str) -> str:
        """Return the Python name of a definition, which is written before if possible."""
        if definition in self._names:
            return self._names[definition]
        schema = self._reading.resolved(reference(definition))
        name = self._names[definition] = self._new_name(definition)
        self._open.add(definition)
        # A definition without properties, such as an Enum, is an alias of a type.
        if schema.get("type") == "object" and properties_of(schema):
            self._blocks.append(self._object(name, schema))
        else:
            self._blocks.append(f"{name} = {self._type(schema, name)}\n")
        self._open.discard(definition)
        return name

    def _new_name(self, definition: str) -> str:
        """Return `OrderPostSave` of `shop.Order.post_save`; a name that is taken gets longer."""
        parts = [part for part in definition.split(".") if part != "type"]
        service = 1 if len(parts) > 1 else 0
        name = "".join(map(_camel, parts[service:]))
        while name in self._taken:
            service -= 1
            name = _camel(parts[service]) + name if service >= 0 else f"{name}_"
        self._taken.add(name)
        return name

    def _object(self, name: str, schema: Schema) -> str:
        lines: list[str] = []
        # Of the attributes of events, the others are the context, which the application chooses.
        if isinstance(schema.get("additionalProperties"), Mapping):
            lines += ['model_config = ConfigDict(extra="allow")', ""]
        required = schema.get("required", ())
        for field, part in properties_of(schema).items():
            lines += _comment(part.get("description", ""))
            kind = self._type(part, f"{name}{_camel(field)}")
            lines.append(_field(field, kind, is_required=field in required))
        return _class(name, "BaseModel", schema.get("description", ""), lines)

    def _type(self, schema: Schema, name: str) -> str:
        """Return the annotation of a schema; `name` is for a class that the schema may need."""
        definition = referred(schema)
        if definition is not None:
            return self._reference(definition)
        union = schema.get("anyOf") or schema.get("oneOf")
        if union is not None:
            return " | ".join(
                dict.fromkeys(
                    self._type(part, f"{name}{at or ''}") for at, part in enumerate(union)
                )
            )
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        # Python has no literals of floats.
        if values is not None and not any(isinstance(value, float) for value in values):
            return f"Literal[{', '.join(map(_literal, values))}]"
        return self._plain(schema, name)

    def _reference(self, definition: str) -> str:
        written = self._use(definition)
        is_class = bool(properties_of(self._reading.resolved(reference(definition))))
        # Only a class may refer to itself.
        return written if is_class or definition not in self._open else "JsonValue"

    def _plain(self, schema: Schema, name: str) -> str:
        kinds = schema.get("type", ())
        # Several types, or none: then any value of JSON.
        if not isinstance(kinds, str):
            return " | ".join(self._plain({**schema, "type": kind}, name) for kind in kinds) or (
                "JsonValue"
            )
        if kinds == "array":
            return self._array(schema.get("items", {}), name)
        if kinds == "object":
            return self._mapping(schema, name)
        if schema.get("contentEncoding") == "base64":
            return "Base64Bytes"
        return _FORMATS.get(schema.get("format", ""), _PLAIN[kinds])

    def _array(self, items: Schema | Sequence[Schema], name: str) -> str:
        if isinstance(items, Mapping):
            return f"list[{self._type(items, name)}]"
        parts = [self._type(part, f"{name}{at}") for at, part in enumerate(items)]
        return f"tuple[{', '.join(parts) or '()'}]"

    def _mapping(self, schema: Schema, name: str) -> str:
        properties = properties_of(schema)
        # Only the fields of `changes` have these two parts.
        if properties.keys() == {"old", "new"}:
            return f"Change[{self._type(properties['new'], name)}]"
        if properties:
            self._blocks.append(self._object(name, schema))
            return name
        values = schema.get("additionalProperties")
        return (
            f"dict[str, {self._type(values, name) if isinstance(values, Mapping) else 'JsonValue'}]"
        )


def _imports(lines: Mapping[str, Sequence[str]], body: str) -> Iterator[str]:
    """Yield the imports that a module needs, a line for each package."""
    # Only names that the body contains: an unused import is an error for linters.
    packages: dict[str, list[str]] = {}
    for line, needed in lines.items():
        if all(re.search(rf"\b{name}\b", body) for name in needed):
            package, _, names = line.partition(" import ")
            packages.setdefault(package, []).append(names)
    for package, imported in packages.items():
        yield f"{package} import {', '.join(imported)}" if imported[0] else package


def _class(name: str, base: str, description: str, lines: Sequence[str]) -> str:
    body = [*_docstring(description), *lines] or ["pass"]
    indented = "\n".join(f"    {line}" if line else "" for line in body)
    return f"class {name}({base}):\n{indented}\n"


def _docstring(description: str) -> Iterator[str]:
    # Quotation marks and backslashes would end the text or change it.
    text = " ".join(description.split()).replace("\\", "/").replace('"', "'")
    if text:
        first, *rest = textwrap.wrap(text, _WIDTH - 10)
        yield f'"""{first}' if rest else f'"""{first}"""'
        yield from rest
        if rest:
            yield '"""'
        yield ""


def _comment(description: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(description.split()), _WIDTH - 6)]


def _field(name: str, kind: str, *, is_required: bool) -> str:
    attribute = _attribute(name)
    if not is_required and not kind.endswith("None"):
        kind = f"{kind} | None"
    if attribute != name:
        default = "" if is_required else "default=None, "
        # A path, because pydantic's plugin for mypy makes an argument of an alias that is text.
        alias = f"validation_alias=AliasPath({_literal(name)})"
        return f"{attribute}: {kind} = Field({default}{alias})"
    return f"{attribute}: {kind}" if is_required else f"{attribute}: {kind} = None"


def _attribute(name: str) -> str:
    """Return a name that an attribute of a pydantic class may have."""
    plain = re.sub(r"\W", "_", name).lstrip("_") or "field"
    # pydantic protects names that begin with `model_`.
    if not plain.isidentifier() or plain.startswith("model_"):
        plain = f"field_{plain}"
    # `kwargs` is an argument of every class for pydantic's plugin for mypy.
    is_taken = keyword.iskeyword(plain) or hasattr(BaseModel, plain) or plain == "kwargs"
    return f"{plain}_" if is_taken else plain


def _camel(name: str) -> str:
    words = [word for word in re.split(r"[\W_]+", name) if word]
    return "".join(word[0].upper() + word[1:] for word in words)


def _literal(value: object) -> str:
    if not isinstance(value, str):
        return repr(value)
    # Double quotation marks, as formatters write them, where nothing needs an escape.
    is_plain = value.isprintable() and not set(value) & {'"', "\\"}
    return f'"{value}"' if is_plain else repr(value)


def _union_of(events: Sequence[str]) -> str:
    members = "\n    | ".join(events)
    return f'Annotated[\n    {members},\n    Field(discriminator="type"),\n]'
