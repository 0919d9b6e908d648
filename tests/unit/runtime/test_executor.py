"""One call of a receiver: what it is given, and what becomes of its answer."""

import asyncio
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.retrying import Bury
from edgy_bus.runtime import inbox
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.outcome import Done, Failed
from edgy_bus.signals import BUILT_IN_KEYWORDS
from tests.unit.runtime.support import Effects, envelope, subscribe


async def test_a_receiver_gets_the_names_that_edgy_uses() -> None:
    given: dict[str, Any] = {}

    async def receiver(sender: str, instance: Any, **kwargs: Any) -> None:
        given.update(kwargs, sender=sender, instance=instance)

    changes = {"name": {"old": "a", "new": "b"}}
    made = envelope(
        signal="post_update",
        instance={"id": "1", "name": "b", "email": "e"},
        changes=changes,
        assigned=["name"],
        is_update=True,
    )
    await execute(subscribe(receiver, "post_update"), made, 5)
    assert set(given) == {"sender", *BUILT_IN_KEYWORDS}
    assert given["sender"] == "accounts.User"
    assert given["instance"].id == "1"
    assert given["model_instance"] is given["instance"]
    assert given["changes"] == changes
    assert given["values"] == given["column_values"] == {"name": "b"}
    assert given["is_update"] is True
    assert given["row_count"] == 1
    assert given["event"].sequence == 1


async def test_values_of_an_update_are_unknown_if_the_event_does_not_name_its_fields() -> None:
    given: dict[str, Any] = {}

    async def receiver(sender: str, instance: Any, **kwargs: Any) -> None:
        given.update(kwargs)

    # As releases wrote events that did not name the fields.
    changes = {"name": {"old": "a", "new": "b"}}
    made = envelope(signal="post_update", changes=changes, is_update=True)
    await execute(subscribe(receiver, "post_update"), made, 5)
    assert (given["values"], given["column_values"]) == (None, None)
    await execute(subscribe(receiver), envelope(), 5)
    assert given["values"] == {"id": "1", "n": 1}, "a save writes the whole row"


async def test_an_event_of_a_whole_set_tells_how_many_rows_there_were() -> None:
    given: dict[str, Any] = {}

    async def receiver(sender: str, instance: Any, **kwargs: Any) -> None:
        given.update(kwargs, instance=instance)

    made = envelope(
        subject=None, signal="post_update", instance=None, values={"name": "b"}, row_count=12
    )
    await execute(subscribe(receiver), made, 5)
    assert (given["instance"], given["values"], given["row_count"]) == (None, {"name": "b"}, 12)


async def test_a_custom_signal_brings_its_own_keywords() -> None:
    given: dict[str, Any] = {}

    async def receiver(sender: str, **kwargs: Any) -> None:
        given.update(kwargs)

    await execute(subscribe(receiver), envelope(signal="on_verify", kwargs={"by": "Ada"}), 5)
    assert given["by"] == "Ada"
    assert "changes" not in given


async def test_what_a_receiver_raises_is_an_outcome() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None:
        raise LookupError("nothing there")

    assert await execute(subscribe(receiver), envelope(), 5) == Failed("LookupError: nothing there")


async def test_a_receiver_that_takes_too_long_has_failed() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None:
        await asyncio.Event().wait()

    outcome = await execute(subscribe(receiver, deadline=0.01), envelope(), 60)
    assert outcome == Failed("took longer than its deadline of 0.01 s")


async def test_a_timeout_of_the_receivers_own_is_told_as_such() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None:
        raise TimeoutError("the other side")

    assert await execute(subscribe(receiver), envelope(), 60) == Failed(
        "TimeoutError: the other side"
    )


@pytest.mark.parametrize("waits", [False, True])
async def test_cancelling_the_task_that_makes_the_call_is_not_an_outcome(waits: bool) -> None:
    entered = asyncio.Event()

    async def receiver(sender: str, **kwargs: Any) -> None:
        if waits:
            await asyncio.sleep(0)
        entered.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(execute(subscribe(receiver), envelope(), 5))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_changes_that_do_not_matter_are_skipped() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None:
        raise AssertionError("must not be called")

    chosen = subscribe(receiver, when_changed=("email",))
    assert await execute(chosen, envelope(changes={"name": {"new": 1}}), 5) == Done(skipped=True)


@pytest.mark.parametrize("answer", [edgy.retry(after=3), edgy.snooze(4), edgy.dead_letter("no")])
async def test_a_receiver_may_ask_for_something(answer: Any) -> None:
    async def receiver(sender: str, **kwargs: Any) -> Any:
        return answer

    assert await execute(subscribe(receiver), envelope(), 5) == answer


async def test_an_inbox_lets_an_event_take_effect_once_and_never_after_a_later_one(
    effects: Effects,
) -> None:
    async def receiver(sender: str, event: edgy.Event, **kwargs: Any) -> None:
        await effects.model.query.create(n=event.sequence)

    chosen = subscribe(receiver, inbox=effects.registry.database)
    assert await execute(chosen, envelope(sequence=1), 5) == Done()
    assert await execute(chosen, envelope(sequence=1), 5) == Done(skipped=True)
    assert await execute(chosen, envelope(sequence=3), 5) == Done()
    assert await execute(chosen, envelope(sequence=2), 5) == Done(skipped=True)
    assert await execute(chosen, envelope(sequence=1, subject="2"), 5) == Done()
    assert await effects.all() == [1, 3, 1]


async def test_an_inbox_forgets_what_a_failed_receiver_wrote(effects: Effects) -> None:
    broken = True

    async def receiver(sender: str, event: edgy.Event, **kwargs: Any) -> None:
        await effects.model.query.create(n=event.sequence)
        if broken:
            raise ValueError("after the write")

    chosen = subscribe(receiver, inbox=effects.registry.database)
    assert isinstance(await execute(chosen, envelope(), 5), Failed)
    assert await effects.all() == []
    broken = False
    assert await execute(chosen, envelope(), 5) == Done()
    assert await effects.all() == [1]


async def test_an_inbox_forgets_what_a_receiver_wrote_that_asks_for_another_attempt(
    effects: Effects,
) -> None:
    async def receiver(sender: str, event: edgy.Event, **kwargs: Any) -> Any:
        await effects.model.query.create(n=event.sequence)
        return edgy.retry(after=1)

    chosen = subscribe(receiver, inbox=effects.registry.database)
    assert await execute(chosen, envelope(), 5) == edgy.retry(after=1)
    assert await effects.all() == []


async def test_an_inbox_takes_a_later_incarnation_for_later(effects: Effects) -> None:
    database = effects.registry.database
    first, restored = envelope(sequence=500), envelope(sequence=3)._replace(incarnation=2)
    async with database.transaction():
        assert await inbox.advance(database, "r", first)
        assert await inbox.advance(database, "r", restored)
        assert not await inbox.advance(database, "r", first._replace(sequence=501))


async def test_an_inbox_does_not_remember_what_has_no_sequence(effects: Effects) -> None:
    database = effects.registry.database
    intent = envelope(sequence=None, signal="pre_save")
    async with database.transaction():
        assert await inbox.advance(database, "r", intent)
        assert await inbox.advance(database, "r", intent)


async def test_receivers_and_sources_have_an_inbox_each(effects: Effects) -> None:
    database = effects.registry.database
    async with database.transaction():
        assert await inbox.advance(database, "a", envelope())
        assert await inbox.advance(database, "b", envelope())
        assert await inbox.advance(database, "a", envelope()._replace(source="other"))


async def test_an_instance_that_is_not_wanted_is_skipped_and_does_not_touch_the_inbox() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None:
        raise AssertionError("must not be called")

    class Untouched:
        def transaction(self) -> Any:
            raise AssertionError("nothing to do here")

        run = transaction

    chosen = subscribe(receiver, where=lambda row: row.id == "2", inbox=Untouched())
    assert await execute(chosen, envelope(), 5) == Done(skipped=True)


async def test_a_filter_that_raises_is_a_failure() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None: ...

    outcome = await execute(subscribe(receiver, where=lambda row: row.nothing > 1), envelope(), 5)
    assert isinstance(outcome, Failed)
    assert "nothing" in outcome.reason


async def test_data_that_cannot_be_read_is_given_up_at_once() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None: ...

    broken = envelope()._replace(raw=b"[" * 100_000)
    assert isinstance(await execute(subscribe(receiver), broken, 5), Bury)
