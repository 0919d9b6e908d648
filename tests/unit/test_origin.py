"""Who acts, and which event is being handled: what the events written now are given."""

import asyncio
from typing import Any

import pytest

import edgy_bus
from edgy_bus.codec import RESERVED, loads, stored_context
from edgy_bus.errors import EventError
from edgy_bus.events import Event, now
from edgy_bus.origin import Origin, context, current_origin, handle, handle_batch


def event(number: int, **values: Any) -> Event:
    return Event(f"e{number}", "a", "a.User", "post_save", "1", now(), {}, context=values)


def test_a_block_adds_to_the_outer_block_and_ends() -> None:
    bus = edgy_bus.Bus()
    with bus.context(actor="ada", request_id=7):
        with bus.context(request_id=8, admin=True):
            assert current_origin().context == {"actor": "ada", "request_id": 8, "admin": True}
        assert stored_context(current_origin().context) == '{"actor":"ada","request_id":7}'
    assert current_origin() == Origin()
    assert stored_context(current_origin().context) is None


@pytest.mark.parametrize(
    "values",
    [
        *({name: 1} for name in ("Actor", "1st", "naïve", "a b", "_a", "a" * 65, "a\n")),
        *({name: 1} for name in RESERVED),
        *({"a": value} for value in (None, [1], {"b": 1}, b"x", float("nan"), float("inf"), 2**70)),
        {"a": "\ud800"},
        {"a": "secret" * 200},
    ],
)
def test_what_an_event_cannot_carry_is_refused_at_the_block(values: dict[str, Any]) -> None:
    with context(actor="ada"):
        with pytest.raises(EventError) as refused, context(**values):
            pass
        assert current_origin().context == {"actor": "ada"}
    assert "secret" not in str(refused.value)


def test_a_context_of_exactly_the_limit_is_carried() -> None:
    with context(a="x" * (1024 - len('{"a":""}'))):
        assert len(stored_context(current_origin().context) or "") == 1024
    with pytest.raises(EventError, match="1,025 bytes"), context(a="x" * 1017):
        pass


def test_a_receiver_inherits_the_context_of_its_event_and_adds_to_it() -> None:
    async def receiver() -> None:
        handle(event(1, actor="ada"))
        assert current_origin() == Origin("e1", {"actor": "ada"})
        with context(step=2):
            assert current_origin() == Origin("e1", {"actor": "ada", "step": 2})

    asyncio.run(receiver())
    assert current_origin() == Origin()


def test_a_batch_names_no_cause_and_inherits_what_its_events_share() -> None:
    async def batch(*events: Event) -> Origin:
        handle_batch(events)
        return current_origin()

    alike, other = (event(1, actor="ada"), event(2, actor="ada")), event(3, actor="eve")
    assert asyncio.run(batch(alike[0])) == Origin("e1", {"actor": "ada"})
    assert asyncio.run(batch(*alike)) == Origin(None, {"actor": "ada"})
    assert asyncio.run(batch(*alike, other)) == Origin()


def test_stored_contexts_are_objects_of_plain_values() -> None:
    with context(actor="ada", admin=True, n=1.5):
        stored = loads(stored_context(current_origin().context) or "")
    assert stored == {"actor": "ada", "admin": True, "n": 1.5}
