"""A contract as a document: valid, complete, and without secrets."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edgy_bus as edgy
from edgy_bus.codec import RESERVED, HeaderPacker, dumps, loads, stored_context
from edgy_bus.contracts import asyncapi, json_schema
from edgy_bus.contracts.shapes import attributes
from tests.unit.contracts.shop import Shop

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def official() -> Any:
    """The schema of AsyncAPI 3.1.0, as its authors publish it (tests/data/README.md)."""
    return loads((DATA / "asyncapi-3.1.0.json").read_text("utf-8"))


def test_the_asyncapi_document_is_valid_by_the_official_schema(
    document: Any, official: Any
) -> None:
    validator = jsonschema.Draft7Validator(official)
    validator.validate(document)
    # The schema is not one that allows everything.
    del document["channels"]["shop.Order"]["messages"]["shop.Order.post_save"]["$ref"]
    document["operations"]["send.shop.Order"]["action"] = "publish"
    assert not validator.is_valid(document)


def test_every_reference_leads_to_a_definition(document: Any) -> None:
    def walk(part: Any) -> None:
        if isinstance(part, list):
            for each in part:
                walk(each)
        if isinstance(part, dict):
            if "$ref" in part:
                place: Any = document
                for name in part["$ref"].removeprefix("#/").split("/"):
                    place = place[name]
            for each in part.values():
                walk(each)

    walk(document)


def test_the_json_schema_is_valid(shop: Shop) -> None:
    jsonschema.Draft7Validator.check_schema(json_schema(shop.contract()))


def test_a_secret_field_is_nowhere(shop: Shop, document: Any) -> None:
    assert "email" in document["components"]["schemas"]["shop.Customer"]["properties"]
    for each in (document, json_schema(shop.contract())):
        text = dumps(each).decode()
        assert "password" not in text
        assert "hush" not in text


def test_the_same_program_gives_the_same_document(tmp_path: Path) -> None:
    first, second = (asyncapi(Shop(f"sqlite:///{tmp_path}/{n}.db").contract()) for n in "ab")
    assert dumps(first) == dumps(second)


def test_only_signals_that_go_to_the_broker_are_there(document: Any) -> None:
    messages = document["components"]["messages"]
    assert "shop.Customer.post_save" in messages
    assert "shop.Customer.greeted" in messages
    assert "shop.Customer.pre_save" not in messages
    assert "shop.Customer.pre" not in document["channels"]


def test_a_channel_is_the_streams_of_a_model(tmp_path: Path) -> None:
    bus = Shop(
        f"sqlite:///{tmp_path}/shop.db", prefix="mine", events=edgy.EventSettings(partitions=3)
    )
    channels = asyncapi(bus.contract())["channels"]
    order, intents = channels["shop.Order"], channels["shop.Order.pre"]
    keys = [
        channel["address"].replace("{stream}", stream)
        for channel in (order, intents)
        for stream in channel["parameters"]["stream"]["enum"]
    ]
    assert keys == [
        "mine:{shop.Order:0}:events",
        "mine:{shop.Order:1}:events",
        "mine:{shop.Order:2}:events",
        "mine:{shop.Order:pre}:events",
    ]
    # How many streams another service has is its own matter.
    assert "enum" not in channels["accounts.User"]["parameters"]["stream"]


def test_operations_name_groups_and_receivers(document: Any) -> None:
    operations = document["operations"]
    assert operations["send.shop.Order"]["action"] == "send"
    billing = operations["receive.billing.shop.Order"]
    assert billing["x-receivers"] == [{"name": "bill", "signal": "post_save", "fields": []}]
    assert [each["$ref"] for each in billing["messages"]] == [
        "#/channels/shop.Order/messages/shop.Order.post_save"
    ]
    [forget] = operations["receive.shop.accounts.User"]["x-receivers"]
    assert forget == {"name": "forget", "signal": "post_delete", "fields": ["id", "email"]}
    # A receiver that runs in the process of the operation is nobody else's business.
    assert "test_documents" not in dumps(document).decode()
    assert len([name for name in operations if name.startswith("receive.")]) == 2


def test_the_schema_names_every_attribute_that_the_codec_writes() -> None:
    # `data` is the payload. Nobody writes the other attributes, which contexts cannot have.
    unwritten = {"data", "datacontenttype", "dataschema", "tracestate"}
    assert RESERVED - unwritten == set(attributes()["properties"])
    header = HeaderPacker("shop", "shop.Order").pack(
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "post_save",
        subject="1",
        time="2026-11-28T12:00:00+00:00",
        sequence=7,
        incarnation=1,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        to="mail/send",
        causation="01890a5d-ac96-774b-bcce-b302099a8056",
        context=stored_context(
            {"actor": "ada", "tries": 2},
            backfill=True,
            replay="01890a5d-ac96-774b-bcce-b302099a8055",
        ),
    )
    validator = jsonschema.Draft7Validator(attributes())
    validator.validate(loads(header))
    assert set(loads(header)) == {*attributes()["properties"], "actor", "tries"}
    assert not validator.is_valid({**loads(header), "sequence": "seven"})


def test_explanations_of_the_declaration_are_there(document: Any) -> None:
    customer = document["components"]["schemas"]["shop.Customer"]
    assert customer["description"] == "Somebody who buys."
    assert customer["properties"]["email"]["description"] == "where bills go"
