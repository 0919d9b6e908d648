"""Generated classes: readable Python that is typed, tolerant where a change is not breaking."""

import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest

from edgy_bus.codec import dumps, loads
from edgy_bus.contracts import json_schema, parse, read
from edgy_bus.contracts.classes import classes
from tests.unit.contracts.shop import Shop

GENERATED = Path(__file__).parents[2] / "typing" / "shop_events.py"
"""Checked by mypy in strict mode, by ruff and its formatter, as all code of this repository is."""

HEAD = {
    "specversion": "1.0",
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "source": "shop",
    "time": "2026-11-28T12:00:00Z",
    "schemaversion": 1,
    "subject": "1",
    "sequence": 7,
    "incarnation": 1,
    "actor": "ada",
}


def load(text: str, name: str = "generated") -> Any:
    """Run the text of a module."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, f"{name}.py", "exec"), vars(module))
    return module


@pytest.fixture
def events(document: Any) -> Any:
    return load(classes(read(document, "shop")))


def entry(signal: str, data: object) -> tuple[bytes, bytes]:
    """Return the fields `head` and `data` of an entry."""
    return dumps({**HEAD, "type": f"shop.Customer.{signal}"}), dumps(data)


def test_the_checked_module_is_what_is_generated(document: Any) -> None:
    # To renew the file: edgy-bus schema classes … of tests/unit/contracts/shop.py.
    assert classes(read(document, "shop")) == GENERATED.read_text("utf-8")


def test_both_formats_give_the_same_classes(shop: Shop, document: Any) -> None:
    text = dumps(json_schema(shop.contract())).decode()
    assert classes(parse(text, "shop.json")) == classes(read(document, "shop"))


def test_an_event_is_read_with_the_types_of_its_fields(events: Any) -> None:
    changes = {"email": {"old": "a@b.c", "new": "x@y.z"}, "id": {"new": 1}}
    row = {"id": 1, "email": "x@y.z"}
    event = events.read_event(*entry("post_update", {"instance": row, "changes": changes}))
    assert isinstance(event, events.CustomerPostUpdate)
    assert event.data.instance == events.Customer(id=1, email="x@y.z")
    assert event.data.changes.email.old == "a@b.c"
    assert "old" not in event.data.changes.id.model_fields_set
    assert event.model_extra == {"actor": "ada"}
    assert event.time.utcoffset() is not None


def test_what_is_not_breaking_breaks_nothing(events: Any) -> None:
    row = {"id": 1, "email": "x@y.z", "color": "a field that is new"}
    event = events.read_event(*entry("post_save", {"instance": row, "later": "a part that is new"}))
    assert event.data.instance.email == "x@y.z"
    assert events.read_event(*entry("a_new_signal", {})) is None


@pytest.mark.parametrize(
    "data", [{"instance": {"id": 1}}, {"instance": {"id": "one", "email": "x@y.z"}}, []]
)
def test_an_event_that_breaks_the_contract_is_an_error(events: Any, data: object) -> None:
    with pytest.raises(pydantic.ValidationError):
        events.read_event(*entry("post_save", data))


def test_fields_with_names_that_python_needs_have_other_attributes(document: Any) -> None:
    row = document["components"]["schemas"]["shop.Customer"]
    names = ["class", "copy", "9 lives", "_hidden", "model_dump"]
    row["properties"] = {name: {"type": "string", "format": "decimal"} for name in names}
    row["required"] = names
    events = load(classes(read(document, "shop")))
    data = {"instance": dict.fromkeys(names, "1.50")}
    instance = events.read_event(*entry("post_save", data)).data.instance
    attributes = ["class_", "copy_", "field_9_lives", "hidden", "field_model_dump"]
    assert [getattr(instance, each) for each in attributes] == [Decimal("1.50")] * 5


def test_text_of_a_document_stays_text(document: Any) -> None:
    row = document["components"]["schemas"]["shop.Customer"]
    row["description"] = 'Quotes """ and \\ and\nlines.'
    row["properties"]["email"]["description"] = "one\nexec('raise SystemExit')"
    row["properties"]["email"]["enum"] = ['"quoted"', "back\\slash", "new\nline"]
    events = load(classes(read(document, "shop")))
    data = {"instance": {"id": 1, "email": "new\nline"}}
    assert events.read_event(*entry("post_save", data)).data.instance.email == "new\nline"


def test_equal_names_of_different_definitions_are_told_apart(document: Any) -> None:
    text = dumps(document["components"]).decode()
    twins = loads(text.replace("shop.Customer", "mail.Customer"))
    for kind in ("messages", "schemas"):
        document["components"][kind] |= twins[kind]
    events = load(classes(read(document, "shop")))
    head, data = entry("post_delete", {"instance": {"id": 1, "email": "x@y.z"}})
    ours = events.read_event(head, data)
    theirs = events.read_event(head.replace(b"shop.Customer", b"mail.Customer"), data)
    assert type(ours) is not type(theirs)
    assert {type(ours).__name__, type(theirs).__name__} > {"CustomerPostDelete"}


def test_a_contract_with_a_single_event_needs_no_union(document: Any) -> None:
    document["components"]["messages"] = {
        name: each
        for name, each in document["components"]["messages"].items()
        if name == "shop.Customer.post_save"
    }
    events = load(classes(read(document, "shop")))
    assert events.AnyEvent is events.CustomerPostSave
    row = {"id": 1, "email": "x@y.z"}
    assert events.read_event(*entry("post_save", {"instance": row})).data.instance.id == 1
