import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest

from edgy_bus.codec import dumps, loads, pack, unpack
from edgy_bus.errors import EventError
from edgy_bus.events import Event, new_event_id, partition_number


def an_event(**other):
    values = {
        "id": new_event_id(),
        "source": "accounts",
        "model": "accounts.User",
        "signal": "post_save",
        "subject": "42",
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "data": {"instance": {"id": 42, "name": "Ada"}},
        "sequence": 7,
    }
    return Event(**(values | other))


def fields(wire):
    return {b"id": wire.id.encode(), b"head": wire.header, b"data": wire.data}


def test_an_event_survives_the_wire():
    event = an_event(traceparent="00-abc-def-01", incarnation=3)
    assert unpack(fields(pack(event))).open() == event


def test_the_empty_text_is_a_subject():
    assert unpack(fields(pack(an_event(subject="")))).subject == ""
    assert unpack(fields(pack(an_event(subject=None)))).subject is None


def test_the_head_is_read_without_the_data():
    entry = fields(pack(an_event())) | {b"data": b"not json"}
    assert unpack(entry).subject == "42"
    with pytest.raises(EventError, match="not JSON"):
        unpack(entry).open()


def with_attributes(**attributes):
    entry = fields(pack(an_event()))
    return entry | {b"head": dumps({**loads(entry[b"head"]), **attributes})}


def test_an_event_may_be_addressed_to_a_receiver():
    event = an_event()
    assert unpack(fields(pack(event))).to is None
    addressed = unpack(with_attributes(to="mail/greet"))
    assert addressed.to == "mail/greet"
    assert addressed.open().data == event.data


def test_attributes_of_later_releases_are_tolerated():
    envelope = unpack(with_attributes(causationid="0192", actor="Ada", tags=["a"], x={"y": None}))
    assert envelope.open().subject == "42"


@pytest.mark.parametrize("to", ["", "mail", 5, ["mail/greet"], {"mail": "greet"}, False])
def test_an_address_that_names_no_receiver_is_refused(to):
    with pytest.raises(EventError, match=r"'to' .* is not of the form GROUP/RECEIVER"):
        unpack(with_attributes(to=to))


@pytest.mark.parametrize("name", ["specversion", "schemaversion", "type", "to"])
@pytest.mark.parametrize(
    "value", [b"[" * 1_000 + b"]" * 1_000, b'"' + b"A" * 1_000_000 + b'"'], ids=["deep", "long"]
)
def test_a_refusal_of_a_monstrous_attribute_is_short(name, value):
    """The repr of a list that is nested a thousand times raises RecursionError."""
    entry = fields(pack(an_event()))
    header = entry[b"head"][:-1] + b',"%s":%s}' % (name.encode(), value)
    with pytest.raises(EventError) as refusal:
        unpack(entry | {b"head": header})
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({b"a": b"b"}, "no field 'head'"),
        ({b"head": b"{}"}, "no field 'data'"),
        ({b"head": b"[1]", b"data": b"{}"}, "not a JSON object"),
        ({b"head": b"[" * 5000, b"data": b"{}"}, "not JSON"),
        ({b"head": b'{"specversion":"9"}', b"data": b"{}"}, "unknown version"),
        ({b"head": b'{"specversion":"1.0","type":"x"}', b"data": b"{}"}, "service.Model.signal"),
        (
            {b"head": b'{"specversion":"1.0","type":5}', b"data": b"{}"},
            "'type' is missing or not text",
        ),
    ],
)
def test_what_is_not_ours_is_refused_with_a_reason(entry, reason):
    with pytest.raises(EventError, match=reason):
        unpack(entry)


def test_values_of_rows_have_a_json_form():
    assert loads(dumps({"price": Decimal("1.50"), "raw": b"\x00\xff"})) == {
        "price": "1.50",
        "raw": "AP8=",
    }
    assert loads(dumps(math.nan)) is None
    with pytest.raises(EventError, match="object has no JSON form"):
        dumps(object())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (time(0, 0, 0, 10_000), "00:00:00.010000"),
        (time(23, 59), "23:59:00"),
        (date(1, 1, 1), "0001-01-01"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 90_000), "2026-01-02T03:04:05.090000"),
        (
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            "2026-01-02T03:04:05+05:45",
        ),
        (Decimal("0E-10"), "0.0000000000"),
        (Decimal("1E+3"), "1000"),
    ],
)
def test_times_and_decimals_are_written_digit_by_digit(value, text):
    assert loads(dumps(value)) == text


def test_whole_numbers_beyond_64_bits_are_written_as_floats_where_no_digit_is_lost():
    assert loads(dumps({"a": [10**22, 18446744073709552000]})) == {"a": [1e22, 2.0**64]}
    for number in (2**64 + 1, -(10**30) - 1, 10**400):
        with pytest.raises(EventError, match="cannot be written as JSON"):
            dumps({"a": number})
    loop = []
    loop.append(loop)
    with pytest.raises(EventError, match="cannot be written as JSON"):
        dumps(loop)


def test_ids_are_uuid_7_and_sort_by_time():
    first = new_event_id()
    assert first[14] == "7"
    assert first[19] in "89ab"
    assert len({new_event_id() for _ in range(1000)}) == 1000


def test_a_row_stays_in_its_partition():
    # The values that PostgreSQL computes for ('x' || left(md5(key), 8))::bit(32)::bigint % 8.
    assert [partition_number(key, 8) for key in ("1", "2", "42", "ä")] == [
        0x_C4CA4238 % 8,
        0x_C81E728D % 8,
        0x_A1D0C6E8 % 8,
        partition_number("ä", 8),
    ]
