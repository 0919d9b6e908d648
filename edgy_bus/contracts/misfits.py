"""Find the reasons why values of a JSON Schema may not fit another schema.

Only the keywords that contracts contain are understood. A schema with another keyword is fitted
only by schemas with the same keyword: nobody here knows its effect.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgy_bus.contracts.reading import Reading, is_derived, properties_of, referred
from edgy_bus.sources import Schema

_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")

_FOR_PEOPLE = frozenset(
    {"title", "description", "deprecated", "examples", "default", "$comment", "readOnly"}
)
"""Keywords that allow and refuse nothing."""

_UNDERSTOOD = _FOR_PEOPLE | {
    *(*_UPPER, *_LOWER, "type", "format", "enum", "const", "anyOf", "oneOf", "$ref"),
    *("properties", "required", "additionalProperties", "items", "additionalItems"),
    *("if", "then", "else"),
}

_TYPES = frozenset({"string", "integer", "number", "boolean", "object", "array"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """The reason why a value of our schema may not fit their schema.

    Attributes:
        kind: absent, optional, nullable, type, values, format, limit, closed or keyword.
        where: the path of the value, `accounts.User.email`.
        ours: the words of our schema.
        theirs: the words of their schema.
        is_required: of an absent property, whether their schema requires the property.
        schema: of an absent property, its schema.
    """

    kind: str
    where: str
    ours: str = ""
    theirs: str = ""
    is_required: bool = False
    schema: str = ""


class Fitting:
    """Looks for misfits between two contracts.

    Args:
        ours: the contract that the values follow.
        theirs: the contract that the values are held against.
    """

    def __init__(self, ours: Reading, theirs: Reading) -> None:
        self._ours = ours
        self._theirs = theirs
        self._compared: set[tuple[str | None, str | None]] = set()

    def misfits(self, ours: Schema, theirs: Schema, where: str) -> Iterator[Misfit]:
        """Return why values of our schema may not fit their schema; each pair of definitions once.

        Definitions that repeat the fields of a row are left out.
        """
        names = referred(ours), referred(theirs)
        if names[0] is not None and names[1] is not None:
            # A type may contain itself.
            if names in self._compared or all(is_derived(str(name)) for name in names):
                return
            self._compared.add(names)
        ours, theirs = self._ours.resolved(ours), self._theirs.resolved(theirs)
        # Also the end of a comparison of arrays of arrays of anything.
        if theirs.keys() <= _FOR_PEOPLE:
            return
        my_members, members = _members(ours), _members(theirs)
        if _allows_null(ours) and not _allows_null(theirs):
            yield Misfit("nullable", where)
        if my_members == [ours] and members == [theirs]:
            yield from self._plain(ours, theirs, where)
        elif len(my_members) == len(members) == 1:
            # A value or null. The value may be a definition, which was perhaps compared before.
            yield from self.misfits(my_members[0], members[0], where)
        elif not all(self._fits_any(member, members) for member in my_members):
            yield Misfit("type", where, "one of several types", "one of several types")

    def _fits_any(self, ours: Schema, members: Sequence[Schema]) -> bool:
        return any(self._fits(ours, theirs) for theirs in members)

    def _fits(self, ours: Schema, theirs: Schema) -> bool:
        # Apart, because a pair that does not fit here may be the reason for a misfit elsewhere.
        alone = Fitting(self._ours, self._theirs)
        alone._compared = set(self._compared)
        return not any(alone.misfits(ours, theirs, ""))

    def _plain(self, ours: Schema, theirs: Schema, where: str) -> Iterator[Misfit]:
        mine, wanted = _types(ours), _types(theirs)
        # A whole number is a number. The other way round, a consumer would get fractions.
        if not _widened(wanted) >= mine:
            yield Misfit("type", where, _shown(mine), _shown(wanted))
            return
        yield from _values(ours, theirs, where)
        yield from _limits(ours, theirs, where)
        # Keywords that only we have make our values fewer, which is no misfit.
        for keyword in sorted(theirs.keys() - _UNDERSTOOD):
            if ours.get(keyword) != theirs[keyword]:
                yield Misfit("keyword", where, keyword, keyword)
        if "object" in mine:
            yield from self._objects(ours, theirs, where)
        if "array" in mine:
            yield from self._arrays(ours, theirs, where)

    def _objects(self, ours: Schema, theirs: Schema, where: str) -> Iterator[Misfit]:
        mine, wanted = properties_of(ours), properties_of(theirs)
        required = theirs.get("required", ())
        for name, schema in wanted.items():
            place = f"{where}.{name}"
            # Reported also where the property is optional: consumers look for it in vain.
            if name not in mine:
                spelt = repr(_for_programs(schema))
                yield Misfit("absent", place, is_required=name in required, schema=spelt)
                continue
            if name in required and name not in ours.get("required", ()):
                yield Misfit("optional", place)
            yield from self.misfits(mine[name], schema, place)
        yield from self._others(ours, theirs, where)

    def _others(self, ours: Schema, theirs: Schema, where: str) -> Iterator[Misfit]:
        """Compare the properties that schemas allow beside those that they name."""
        mine, wanted = (each.get("additionalProperties", True) for each in (ours, theirs))
        properties = properties_of(ours)
        unnamed = sorted(properties.keys() - properties_of(theirs).keys())
        if wanted is False and (unnamed or mine is not False):
            yield Misfit("closed", where)
        elif isinstance(wanted, Mapping):
            for name in unnamed:
                yield from self.misfits(properties[name], wanted, f"{where}.{name}")
            if mine is not False:
                yield from self.misfits({} if mine is True else mine, wanted, f"{where}.*")

    def _arrays(self, ours: Schema, theirs: Schema, where: str) -> Iterator[Misfit]:
        mine, wanted = ours.get("items", {}), theirs.get("items", {})
        # A list of `items` is a tuple; a schema holds for all elements.
        if isinstance(mine, Sequence) and isinstance(wanted, Sequence) and len(mine) == len(wanted):
            for number, (my_part, part) in enumerate(zip(mine, wanted, strict=True)):
                yield from self.misfits(my_part, part, f"{where}[{number}]")
        elif isinstance(mine, Mapping) and isinstance(wanted, Mapping):
            yield from self.misfits(mine, wanted, f"{where}[]")
        elif wanted:
            yield Misfit("type", where, "an array of another form", "an array of another form")


def _members(schema: Schema) -> Sequence[Schema]:
    """Return the types of a union, without null; a schema without a union is its only member."""
    union = schema.get("anyOf") or schema.get("oneOf")
    if union is None:
        return [schema]
    return [member for member in union if member.get("type") != "null"] or [{"type": "null"}]


def _allows_null(schema: Schema) -> bool:
    union = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return any("null" in _listed(member) for member in union)


def _listed(schema: Schema) -> Sequence[str]:
    listed = schema.get("type", ())
    return [listed] if isinstance(listed, str) else listed


def _types(schema: Schema) -> frozenset[str]:
    """Return the types of JSON that a schema allows, without null."""
    listed = frozenset(_listed(schema)) - {"null"}
    if listed or "null" in _listed(schema):
        return listed
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return frozenset(_type_of(value) for value in values) or _TYPES


def _type_of(value: object) -> str:
    names = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return names.get(type(value), "string")


def _widened(types: frozenset[str]) -> frozenset[str]:
    return types | {"integer"} if "number" in types else types


def _shown(types: frozenset[str]) -> str:
    return "any value" if types >= _TYPES else " or ".join(sorted(types)) or "null"


def _values(ours: Schema, theirs: Schema, where: str) -> Iterator[Misfit]:
    """Compare the texts and numbers that schemas list, and their formats."""
    mine, wanted = _named_values(ours), _named_values(theirs)
    if wanted is not None:
        unknown = None if mine is None else [each for each in mine if each not in wanted]
        if unknown is None:
            yield Misfit("values", where, "any", ", ".join(wanted))
        elif unknown:
            yield Misfit("values", where, ", ".join(unknown), ", ".join(wanted))
    # Formats are only compared for being equal, but for whole numbers, whose range is known.
    format_, wished = ours.get("format"), theirs.get("format")
    if wished is not None and format_ != wished and (format_, wished) != ("int32", "int64"):
        yield Misfit("format", where, format_ or "any", wished)


def _named_values(schema: Schema) -> list[str] | None:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    # `repr` tells true from 1, and null is a matter of `_allows_null`.
    return None if values is None else [repr(value) for value in values if value is not None]


def _limits(ours: Schema, theirs: Schema, where: str) -> Iterator[Misfit]:
    # A lower limit is an upper limit of the negative number.
    for keywords, sign in ((_UPPER, 1), (_LOWER, -1)):
        for keyword in keywords:
            limit = theirs.get(keyword)
            mine = ours.get(keyword)
            if limit is not None and (mine is None or mine * sign > limit * sign):
                said = f"without {keyword}" if mine is None else f"{keyword} {mine}"
                yield Misfit("limit", where, said, f"{keyword} {limit}")


def _for_programs(schema: Any) -> Any:
    """Return a schema without keywords for people."""
    if isinstance(schema, Mapping):
        return {
            name: _for_programs(part) for name, part in schema.items() if name not in _FOR_PEOPLE
        }
    return schema
