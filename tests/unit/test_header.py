"""The header of an event as bytes: what older releases write and read does not change."""

from typing import Any

import pytest

from edgy_bus.codec import (
    RESERVED,
    HeaderPacker,
    Numbering,
    context_of_copy,
    dumps,
    loads,
    numbering,
    stored_context,
    unpack,
)
from edgy_bus.codec import pack as encode

PLAIN = (
    b'{"specversion":"1.0","source":"accounts","type":"accounts.User.post_save","schemaversion":1,'
    b'"id":"e1","time":"2026-01-01T00:00:00+00:00","subject":"42","sequence":7,"incarnation":1}'
)
"""As the release before versions wrote it."""


def pack(**attributes: Any) -> bytes:
    return HeaderPacker("accounts", "accounts.User").pack(
        "e1",
        "post_save",
        **{
            "subject": "42",
            "time": "2026-01-01T00:00:00+00:00",
            "sequence": 7,
            "incarnation": 1,
            "traceparent": None,
            **attributes,
        },
    )


def test_attributes_without_a_value_leave_the_bytes_as_they_were() -> None:
    assert pack() == PLAIN
    assert pack(to=None, causation=None, context=None) == PLAIN


def test_new_attributes_are_cloudevents_extensions_that_old_readers_pass_over() -> None:
    header = pack(
        to="mail/send",
        causation="e0",
        context='{"actor":"ada","requestid":9}',
        traceparent="00-abc-def-01",
    )
    extensions = {"to": "mail/send", "causationid": "e0", "actor": "ada", "requestid": 9}
    assert loads(header) == loads(PLAIN) | extensions | {"traceparent": "00-abc-def-01"}
    envelope = unpack({b"head": header, b"data": b"{}"})
    assert (envelope.id, envelope.sequence, envelope.traceparent) == ("e1", 7, "00-abc-def-01")
    assert numbering(header) == Numbering(7, 1, "42")
    event = envelope.open()
    assert (event.causation, event.context) == ("e0", {"actor": "ada", "requestid": 9})


def test_an_event_with_causation_and_context_is_the_same_after_its_way_as_bytes() -> None:
    plain = unpack({b"head": PLAIN, b"data": b"{}"}).open()
    assert (plain.causation, plain.context) == (None, {})
    event = plain._replace(causation="e0", context={"actor": "ada", "n": 1.5, "admin": True})
    wire = encode(event)
    assert unpack({b"head": wire.header, b"data": wire.data}).open() == event


def test_a_copy_names_its_original_beside_the_context_of_the_original() -> None:
    for stored, context in ((None, {}), ('{"actor":"ada"}', {"actor": "ada"}), ("{", {})):
        header = pack(context=context_of_copy(stored, "e0"))
        assert loads(header) == loads(PLAIN) | context | {"replayof": "e0"}
        event = unpack({b"head": header, b"data": b"{}"}).open()
        assert (event.replay, event.context, event.backfill) == ("e0", context, False)
        wire = encode(event)
        assert unpack({b"head": wire.header, b"data": wire.data}).open() == event
    assert "replayof" in RESERVED
    assert unpack({b"head": PLAIN, b"data": b"{}"}).open().replay is None
    for edited in ('{"replayof":1}', '{"replayof":null}', '{"replayof":["e0"]}'):
        assert pack(context=edited) == PLAIN


def test_a_backfill_is_an_attribute_that_no_context_has() -> None:
    header = pack(context=stored_context({"actor": "ada"}, backfill=True))
    assert loads(header) == loads(PLAIN) | {"actor": "ada", "backfill": True}
    event = unpack({b"head": header, b"data": b"{}"}).open()
    assert (event.backfill, event.context) == (True, {"actor": "ada"})
    wire = encode(event)
    assert unpack({b"head": wire.header, b"data": wire.data}).open() == event
    assert not unpack({b"head": PLAIN, b"data": b"{}"}).open().backfill
    for edited in ('{"backfill":1}', '{"backfill":"true"}', '{"backfill":false}'):
        assert pack(context=edited) == PLAIN


@pytest.mark.parametrize(
    "context",
    ["", "{", "[]", "1", "null", '"x"', '{"a":null}', '{"a":{"b":1}}', '{"a":[1]}'],
)
def test_a_context_that_somebody_edited_cannot_stop_the_stream(context: str) -> None:
    assert pack(context=context) == PLAIN


def test_a_context_cannot_take_the_place_of_an_attribute() -> None:
    # The text of a copy is what the outbox itself keeps there; `check_context` refuses the name.
    forged = dict.fromkeys(RESERVED - {"replayof"}, "forged")
    assert pack(context=dumps(forged).decode()) == PLAIN
    assert loads(PLAIN).keys() <= RESERVED
