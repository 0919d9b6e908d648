"""Changes of a contract: each is named once, and judged by what happens to consumers."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.codec import dumps, loads
from edgy_bus.contracts import Effect, Reading, asyncapi, compare, json_schema, parse, read
from edgy_bus.contracts.misfits import Fitting
from edgy_bus.errors import ConfigurationError
from tests.unit.contracts.shop import Shop

Document = Any
Mutation = Callable[[Document], None]


def order(document: Document) -> Any:
    """Return the row of `shop.Order`."""
    return document["components"]["schemas"]["shop.Order"]


def fields(document: Document) -> Any:
    return order(document)["properties"]


def remove_model(document: Document) -> None:
    messages = document["components"]["messages"]
    for name in [name for name in messages if name.startswith("shop.Customer.")]:
        del messages[name]


def rename_model(document: Document) -> None:
    text = dumps(document["components"]).decode()
    document["components"] = loads(text.replace("shop.Customer", "shop.Buyer"))


def remove_signal(document: Document) -> None:
    del document["components"]["messages"]["shop.Order.post_delete"]


def remove_field(document: Document) -> None:
    del fields(document)["note"]
    order(document)["required"].remove("note")


def rename_field(document: Document) -> None:
    fields(document)["sum"] = fields(document).pop("total")
    order(document)["required"][order(document)["required"].index("total")] = "sum"


def add_field(document: Document) -> None:
    fields(document)["color"] = {"type": "string"}
    order(document)["required"].append("color")


def add_optional_field(document: Document) -> None:
    fields(document)["color"] = {"type": "string"}


def put(name: str, schema: Any) -> Mutation:
    """Return a mutation that gives a field another schema."""

    def mutate(document: Document) -> None:
        fields(document)[name] = schema

    return mutate


def nested(name: str, schema: Any) -> Mutation:
    """Return a mutation that gives a field inside of JSON another schema."""

    def mutate(document: Document) -> None:
        document["components"]["schemas"]["shop.Order.type.Line"]["properties"][name] = schema

    return mutate


def more_streams(document: Document) -> None:
    streams = document["channels"]["shop.Order"]["parameters"]["stream"]["enum"]
    streams.append("{shop.Order:8}")


def other_prefix(document: Document) -> None:
    document["channels"]["shop.Order"]["address"] = "other:{stream}:events"


def optional_field(document: Document) -> None:
    order(document)["required"].remove("kind")


def change_attribute(document: Document) -> None:
    document["components"]["schemas"]["event"]["required"].remove("id")


def change_part_of_data(document: Document) -> None:
    data = document["components"]["schemas"]["shop.Order.post_update.data"]
    data["properties"]["assigned"] = {"type": "string"}


def remove_receiver(document: Document) -> None:
    del document["operations"]["receive.billing.shop.Order"]


NULL = {"type": "null"}
B, C, F = Effect.BREAKING, Effect.CARE, Effect.FINE

MUTATIONS: list[tuple[Mutation, str, str, Effect, str, Effect]] = [
    # The mutation, what it is called, where, its effect; and the same of the mutation taken back.
    (remove_model, "model-removed", "shop.Customer", B, "model-added", F),
    (rename_model, "model-renamed", "shop.Customer", B, "model-renamed", B),
    (remove_signal, "signal-removed", "shop.Order.post_delete", B, "signal-added", F),
    (remove_field, "field-removed", "shop.Order.note", B, "field-added", C),
    (rename_field, "field-renamed", "shop.Order.total", B, "field-renamed", B),
    (add_field, "field-added", "shop.Order.color", C, "field-removed", B),
    (add_optional_field, "field-added", "shop.Order.color", F, "field-removed", B),
    (optional_field, "field-optional", "shop.Order.kind", B, "field-required", C),
    (
        put("day", {"anyOf": [{"type": "string", "format": "date"}, NULL]}),
        *("field-nullable", "shop.Order.day", B, "field-not-null", C),
    ),
    (put("number", {"type": "string"}), "type-changed", "shop.Order.number", B, "type-changed", B),
    (
        put("weight", {"anyOf": [{"type": "integer"}, NULL]}),
        *("type-narrowed", "shop.Order.weight", C, "type-changed", B),
    ),
    (
        put("number", {"type": "integer", "format": "int64"}),
        *("format-changed", "shop.Order.number", B, "format-narrowed", C),
    ),
    (
        put("state", {"type": "string", "enum": ["new", "paid", "sent"]}),
        *("values-added", "shop.Order.state", B, "values-removed", C),
    ),
    (
        put("kind", {"type": "string", "maxLength": 9}),
        *("limit-widened", "shop.Order.kind", B, "limit-narrowed", C),
    ),
    (
        put("pair", {"type": "array", "items": [{}], "minItems": 2, "maxItems": 2}),
        *("type-changed", "shop.Order.pair", B, "type-changed", B),
    ),
    (
        put("extra", {"type": "object"}),
        *("type-narrowed", "shop.Order.extra", C, "type-changed", B),
    ),
    (
        nested("title", {"type": "integer"}),
        *("type-changed", "shop.Order.lines[].title", B, "type-changed", B),
    ),
    (more_streams, "streams-changed", "shop.Order", B, "streams-changed", B),
    (other_prefix, "address-changed", "shop.Order", B, "address-changed", B),
    (change_attribute, "field-optional", "event.id", B, "field-required", C),
    (
        change_part_of_data,
        *("type-changed", "shop.Order.post_update.data.assigned", B, "type-changed", B),
    ),
    (remove_receiver, "receiver-removed", "billing/bill", F, "receiver-added", F),
]


def changed(document: Document, *mutations: Mutation) -> Reading:
    mutated = copy.deepcopy(document)
    for mutation in mutations:
        mutation(mutated)
    return read(mutated, "new")


def test_a_document_does_not_differ_from_itself(shop: Shop, document: Document) -> None:
    assert compare(read(document, "old"), changed(document)).changes == ()
    # Nor from the other format, which knows no streams and no receivers.
    assert compare(read(document, "old"), read(json_schema(shop.contract()), "new")).changes == ()


@pytest.mark.parametrize(
    ("mutation", "code", "where", "effect", "back", "back_effect"),
    MUTATIONS,
    ids=[f"{index}-{each[1]}" for index, each in enumerate(MUTATIONS)],
)
def test_every_change_is_found_and_judged_in_both_directions(
    document: Document,
    mutation: Mutation,
    code: str,
    where: str,
    effect: Effect,
    back: str,
    back_effect: Effect,
) -> None:
    old, new = read(document, "old"), changed(document, mutation)
    [change] = compare(old, new).changes
    assert (change.code, change.where, change.effect) == (code, where, effect)
    [reverse] = compare(new, old).changes
    assert (reverse.code, reverse.effect) == (back, back_effect)


INDEPENDENT = [each for each in MUTATIONS if each[0] not in (rename_model, remove_model)]


@given(st.sets(st.integers(0, len(INDEPENDENT) - 1), max_size=6))
def test_changes_do_not_hide_each_other(shop_document: Document, chosen: set[int]) -> None:
    by_place = {INDEPENDENT[index][2]: INDEPENDENT[index] for index in sorted(chosen)}
    mutations = list(by_place.values())
    new = changed(shop_document, *(each[0] for each in mutations))
    difference = compare(read(shop_document, "old"), new)
    found = {(change.code, change.where, change.effect) for change in difference.changes}
    assert found == {(code, where, effect) for _, code, where, effect, *_ in mutations}
    assert difference.fails(B) is any(each[3] is B for each in mutations)


@pytest.fixture(scope="module")
def shop_document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    folder = tmp_path_factory.mktemp("shop")
    return loads(dumps(asyncapi(Shop(f"sqlite:///{folder}/shop.db").contract())))


SCHEMAS: list[Any] = [
    {},
    {"type": "string"},
    {"type": "string", "maxLength": 2},
    {"type": "string", "enum": ["a", "b"]},
    {"const": "a"},
    {"enum": ["a", 1]},
    {"type": "integer"},
    {"type": "integer", "minimum": 1, "maximum": 3},
    {"type": "number"},
    {"type": "boolean"},
    NULL,
    {"type": ["string", "null"]},
    {"anyOf": [{"type": "string"}, NULL]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"anyOf": [{"type": "string"}, {"type": "integer"}, NULL]},
    {"type": "array"},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"type": "number"}, "maxItems": 1},
    {"type": "array", "items": [{"type": "integer"}], "additionalItems": False, "minItems": 1},
    {"type": "array", "items": {"anyOf": [{"type": "integer"}, NULL]}},
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "integer"}}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, NULL]}}},
    {"type": "string", "pattern": "^a"},
]

VALUES: list[Any] = [
    *(None, True, 0, 1, 2, 5, 1.5, "", "a", "b", "abc"),
    *([], [1], [1, 2], [1.5], ["a"], [None]),
    *({}, {"a": 1}, {"a": "x"}, {"a": None}, {"b": 1}, {"b": "x"}, {"a": 1, "b": 2}),
]


def alone(schema: Any) -> Reading:
    return Reading("", {"it": schema}, {}, None, frozenset())


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_a_schema_that_fits_another_allows_no_other_value(number: int) -> None:
    """Whatever is not reported is safe: tried with every pair of schemas and many values."""
    ours = SCHEMAS[number]
    reported = 0
    for theirs in SCHEMAS:
        fitting = Fitting(alone(ours), alone(theirs))
        misfits = list(fitting.misfits(ours, theirs, "it"))
        reported += bool(misfits)
        if not misfits:
            mine, other = map(jsonschema.Draft7Validator, (ours, theirs))
            for value in VALUES:
                assert other.is_valid(value) or not mine.is_valid(value), (theirs, value)
    # Not by reporting everything: a schema fits itself, and the schema that allows everything.
    assert 0 < reported < len(SCHEMAS)
    assert not any(Fitting(alone(ours), alone({})).misfits(ours, {}, "it"))
    assert not any(Fitting(alone(ours), alone(ours)).misfits(ours, ours, "it"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"asyncapi": "3.1.0"}',
        '{"definitions": {}, "oneOf": [], "title": "x"}',
        "1",
    ],
)
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"old\.json is no"):
        parse(text, "old.json")


def test_a_reference_to_nothing_is_refused(document: Document) -> None:
    del document["components"]["schemas"]["shop.Order.type.Line"]
    with pytest.raises(ConfigurationError, match=r"shop\.Order\.type\.Line"):
        compare(read(document, "old"), changed(document))


def test_all_pairs_of_mutations_are_compared_without_an_error(shop_document: Document) -> None:
    readings = [changed(shop_document, each[0]) for each in MUTATIONS]
    for old, new in itertools.product(readings, repeat=2):
        assert bool(compare(old, new).changes) is (old is not new)
