"""Edits of dead letters: what may change, how a row is checked, signatures, and races."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import (
    Edit,
    Editable,
    FieldEdit,
    Parts,
    RowReader,
    Selection,
    actions,
    checked_edit,
    data_from,
    dead_letter,
    edit_dead,
    editable,
    list_dead,
    replay_dead,
    row_reader,
    with_fields,
)
from edgy_bus.runtime.jobs import STREAM
from edgy_bus.signing import Signer
from tests.support import PARTITION, bury, event

KEYS = {"k1": "0123456789abcdef", "k2": "fedcba9876543210"}
MOST = 10_000

models = edgy.Registry("sqlite:///unused.sqlite")


class User(edgy.Model):
    id: str = edgy.CharField(max_length=20, primary_key=True)
    n: int = edgy.IntegerField()
    age: int | None = edgy.IntegerField(null=True)

    class Meta:
        registry = models


def reader(original: Editable) -> RowReader:
    """The reader of a program that has the class."""
    return row_reader(original, "accounts", [models], ())


@pytest.fixture
async def parts() -> Parts:
    """A broker with a letter of the row 1, and one of the row 2."""
    broker = MemoryBroker()
    await bury(broker, event("1", 1, changes={"n": [0, 1]}))
    await bury(broker, event("2", 2))
    return Parts(broker, "accounts")


async def letter_ids(parts: Parts) -> list[str]:
    return [letter.id async for letter in list_dead(parts.broker, Selection())]


async def first(parts: Parts) -> Editable:
    original = await editable(parts, (await letter_ids(parts))[0])
    assert original is not None
    return original


async def made(parts: Parts, *assignments: str) -> Edit:
    original = await first(parts)
    edit = checked_edit(
        original, with_fields(original.data, assignments), reader(original), most_bytes=MOST
    )
    assert edit is not None
    return edit


async def data_of(parts: Parts, address: str) -> Any:
    shown = await dead_letter(parts.broker, address, data=True)
    assert shown is not None
    return data_from(shown.fields["data"])


async def test_a_row_is_changed_and_the_rest_of_the_letter_stays(parts: Parts) -> None:
    before = await first(parts)
    edit = await made(parts, "n=5", "age=40")
    assert edit.fields == (FieldEdit("n", 1, 5), FieldEdit("age", None, 40))
    edited = await edit_dead(parts, edit, by="ana")
    assert (edited.letter, edited.is_signed) == (before.view.id, False)
    ids = await letter_ids(parts)
    assert ids[-1] == edited.id, "it comes last"
    assert before.view.id not in ids
    assert await data_of(parts, edited.id) == {
        "instance": {"id": "1", "n": 5, "age": 40},
        "changes": {"n": [0, 1]},
    }
    after = await editable(parts, edited.id)
    assert after is not None
    fields = {**before.letter.fields, b"data": after.letter.fields[b"data"]}
    assert after.letter == replace(before.letter, fields=fields)


async def test_the_log_has_the_names_of_the_fields_and_no_value(parts: Parts) -> None:
    edited = await edit_dead(parts, await made(parts, "n=51243"), by="ana")
    (action,) = (await actions(parts.broker, 10)).actions
    assert (action.operator, action.action, action.group) == ("ana", "dead edit", "mail")
    assert action.receiver == "app.mail"
    assert (action.choice, action.count) == (f"{edited.letter}: n", 1)
    assert action.result == f"edited: {edited.id}"


async def test_a_letter_that_is_gone_stays_gone(parts: Parts) -> None:
    edit = await made(parts, "n=5")
    await replay_dead(parts.broker, Selection())
    assert (await edit_dead(parts, edit)).id is None
    assert await letter_ids(parts) == []
    assert (await actions(parts.broker, 1)).actions[0].result == "the letter was gone"
    assert await editable(parts, edit.original.view.id) is None


async def test_the_neighbour_of_a_letter_that_is_gone_is_not_edited(parts: Parts) -> None:
    one, _ = await letter_ids(parts)
    await replay_dead(parts.broker, Selection(subject="1"))
    assert await editable(parts, one) is None


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ('n="x"', r"the row does not fit accounts\.User: n \(int_parsing\)"),
        ("n=null", "n cannot be null"),
        ('id="2"', "id is the key of the row"),
        ("name=1", "no field name; the fields are age, id, n"),
    ],
)
async def test_what_is_no_row_of_the_model_is_refused(
    parts: Parts, assignment: str, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        await made(parts, assignment)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "exactly these parts: instance, changes"),
        ({"instance": {}}, "exactly these parts"),
        ({"instance": {}, "changes": {}, "more": 1}, "exactly these parts"),
        ({"instance": None, "changes": {}}, "instance has to stay a JSON value of its kind"),
        ({"instance": {"id": "1", "n": 1, "age": 10**10}, "changes": []}, "changes has to stay"),
        ({"instance": {"n": 1}, "changes": {}}, "id is the key"),
    ],
)
async def test_what_is_no_data_of_the_event_is_refused(
    parts: Parts, data: object, reason: str
) -> None:
    original = await first(parts)
    with pytest.raises(ConfigurationError, match=reason):
        checked_edit(original, data, reader(original), most_bytes=MOST)


async def test_data_may_be_as_large_as_an_event_or_as_before(parts: Parts) -> None:
    original = await first(parts)
    data = {**original.data, "changes": {"n": [0, 12345]}}
    with pytest.raises(ConfigurationError, match="bytes, and an event 10"):
        checked_edit(original, data, reader(original), most_bytes=10)
    smaller = {**original.data, "changes": {}}
    edit = checked_edit(original, smaller, reader(original), most_bytes=10)
    assert edit is not None
    assert edit.fields == (FieldEdit("changes", {"n": [0, 1]}, {}),)


async def test_the_same_data_is_no_edit_and_true_is_not_one(parts: Parts) -> None:
    original = await first(parts)
    assert checked_edit(original, dict(original.data), reader(original), most_bytes=MOST) is None
    edit = checked_edit(
        original, with_fields(original.data, ["n=true"]), _anything(), most_bytes=MOST
    )
    assert edit is not None
    assert edit.fields == (FieldEdit("n", 1, True),)


def _anything() -> RowReader:
    return RowReader(dict)


@pytest.mark.parametrize("text", ["n", "=5", "n=", "n=5x", "n={'a': 1}"])
async def test_what_is_no_assignment_is_refused_without_its_value(parts: Parts, text: str) -> None:
    with pytest.raises(ConfigurationError, match="write FIELD=JSON") as caught:
        await made(parts, text)
    assert "5" not in str(caught.value)


def test_an_event_without_a_row_has_no_fields() -> None:
    with pytest.raises(ConfigurationError, match="has no row"):
        with_fields({"instance": None}, ["n=5"])
    with pytest.raises(ConfigurationError, match="the edited text is not JSON"):
        data_from("{")


# Readers


class Schema(BaseModel):
    n: int


async def test_a_receiver_by_name_reads_by_its_schema_or_keeps_kinds(parts: Parts) -> None:
    bus = edgy.Bus("memory://", service="mail")

    @bus.receiver("accounts.User", "post_save", name="app.mail", schema=Schema)
    async def strict(sender: Any, **kwargs: Any) -> None: ...

    @bus.receiver("accounts.User", "post_save", name="app.free")
    async def free(sender: Any, **kwargs: Any) -> None: ...

    original = await first(parts)
    by_schema = row_reader(original, "mail", bus.registries, bus.subscriptions())
    with pytest.raises(ConfigurationError, match=r"n \(int_parsing\)"):
        _edit(original, by_schema, 'n="x"')
    assert _edit(original, by_schema, 'n="7"') is not None, "the schema takes the text"
    other = replace(original, view=replace(original.view, receiver="app.free"))
    by_kind = row_reader(other, "mail", bus.registries, bus.subscriptions())
    for assignment in ('n="7"', "n=true", "new=1"):
        with pytest.raises(ConfigurationError):
            _edit(original, by_kind, assignment)
    assert _edit(original, by_kind, "n=null") is not None
    # A receiver that an operator has renamed: its letters have the first name.
    view = replace(original.view, receiver="app.first")
    renamed = replace(original, view=view, names={"app.free": "app.first"})
    assert not row_reader(renamed, "mail", bus.registries, bus.subscriptions()).typed


def _edit(original: Editable, by: RowReader, assignment: str) -> Edit | None:
    return checked_edit(original, with_fields(original.data, [assignment]), by, most_bytes=MOST)


async def test_a_program_that_knows_neither_model_nor_receiver_cannot_check(parts: Parts) -> None:
    original = await first(parts)
    with pytest.raises(ConfigurationError, match=r"neither the model accounts\.User nor the rec"):
        row_reader(original, "elsewhere", [models], ())


async def test_an_error_of_a_schema_is_a_refusal_without_values(parts: Parts) -> None:
    def read(row: Mapping[str, object]) -> object:
        raise ZeroDivisionError(row)

    with pytest.raises(
        ConfigurationError, match=r"does not fit accounts\.User: ZeroDivisionError$"
    ):
        _edit(await first(parts), RowReader(read), "n=7")


# Signatures


async def bury_signed(signer: Signer | None, **changes: bytes) -> Parts:
    broker = MemoryBroker()
    await bury(broker, event("1", 1))
    group = broker._group(PARTITION, "mail")
    assert group is not None
    ((entry, letter),) = group.dead.items()
    fields = dict(letter.fields)
    if signer is not None:
        signed = (fields[b"id"], fields[b"head"], fields[b"data"])
        fields[b"sig"] = signer.sign(PARTITION, *signed)
    fields |= {name.encode(): value for name, value in changes.items()}
    group.dead[entry] = replace(letter, fields=fields)
    return Parts(broker, "accounts")


async def test_a_signed_letter_is_signed_anew_with_the_first_key() -> None:
    parts = replace(await bury_signed(Signer({"k1": KEYS["k1"]})), signer=Signer(_newest_first()))
    edited = await edit_dead(parts, await made(parts, "n=5"))
    assert edited.is_signed
    assert edited.id is not None
    letter = (await first(parts)).letter
    assert letter.fields[b"sig"].startswith(b"k2:")
    Signer({"k2": KEYS["k2"]}).check(PARTITION, letter.fields)


def _newest_first() -> dict[str, str]:
    return {"k2": KEYS["k2"], "k1": KEYS["k1"]}


async def test_a_signed_letter_is_not_edited_without_the_key() -> None:
    parts = await bury_signed(Signer(KEYS))
    with pytest.raises(ConfigurationError, match="name a bus with signing_keys"):
        await first(parts)


@pytest.mark.parametrize("changes", [{}, {"data": b'{"instance":{"id":"1","n":9}}'}])
async def test_a_signature_does_not_make_a_forged_event_valid(changes: dict[str, bytes]) -> None:
    signer = Signer(KEYS) if changes else None
    parts = replace(await bury_signed(signer, **changes), signer=Signer(KEYS))
    with pytest.raises(ConfigurationError, match="this letter is not signed by this bus"):
        await first(parts)


# What is no event


@pytest.mark.parametrize(
    ("receiver", "changes"),
    [(STREAM, {}), ("app.mail", {b"head": b"{}"}), ("app.mail", {b"data": b"[]"})],
)
async def test_what_is_no_event_is_not_edited(receiver: str, changes: dict[bytes, bytes]) -> None:
    parts = await bury_signed(None)
    assert isinstance(parts.broker, MemoryBroker)
    group = parts.broker._group(PARTITION, "mail")
    assert group is not None
    ((entry, letter),) = group.dead.items()
    group.dead[entry] = replace(letter, receiver=receiver, fields={**letter.fields, **changes})
    with pytest.raises(ConfigurationError, match="is no event of this library"):
        await first(parts)
