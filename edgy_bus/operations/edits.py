"""Edit a dead letter before a replay: the data of its event, checked against the model.

`editable` reads the letter, `checked_edit` decides without I/O whether the new data is an event of
the model, and `edit_dead` replaces the letter, if the letter is still there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from edgy_bus.brokers.base import ActionEntry, DeadLetter, EntryId
from edgy_bus.codec import dumps, loads
from edgy_bus.errors import ConfigurationError, ContractError, EdgyBusError, EventError
from edgy_bus.events import Partition
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.letter_pages import before
from edgy_bus.operations.letters import Letter, address_of, event_of, letter_of, read_address
from edgy_bus.operations.parts import Parts
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals.contracts import fitted
from edgy_bus.signing import FIELD
from edgy_bus.sources import Source, SourceModel

Data = Mapping[str, object]
"""The data of an event: the row as `instance`, and old and new values as `changes`."""

ROW = "instance"


@dataclass(frozen=True, slots=True)
class RowReader:
    """The check of a row: how a program reads the rows of a letter's model.

    Attributes:
        read: makes an instance from a row; raises for a row that cannot be read.
        fields: the names of the model's fields; None where only the receiver is known.
        required: fields that are never null.
        key: the field with the key of the row; None where only the receiver is known.
        typed: whether `read` checks the types of values.
    """

    read: Callable[[Mapping[str, object]], object]
    fields: frozenset[str] | None = None
    required: frozenset[str] = frozenset()
    key: str | None = None
    typed: bool = True


@dataclass(frozen=True, slots=True)
class Editable:
    """A dead letter with the data of its event."""

    view: Letter
    partition: Partition
    entry: EntryId
    letter: DeadLetter
    data: Data
    names: Mapping[str, str]
    """Other names of receivers of the group, and their names in the letters."""


@dataclass(frozen=True, slots=True)
class FieldEdit:
    """A value that an edit changes; `field` is `name` of the row, or `changes` of the event."""

    field: str
    before: object
    after: object


@dataclass(frozen=True, slots=True)
class Edit:
    """New data for a dead letter, which is an event of the model."""

    original: Editable
    data: Data
    fields: tuple[FieldEdit, ...]


@dataclass(frozen=True, slots=True)
class Edited:
    """A letter with new data.

    Attributes:
        letter: the id of the letter before the edit.
        id: the id of the edited letter; None if the letter was replayed or discarded meanwhile.
        is_signed: whether the edited event has a new signature.
    """

    letter: str
    id: str | None
    is_signed: bool


def row_reader(
    original: Editable,
    service: str,
    sources: Iterable[Source],
    subscriptions: Iterable[Subscription],
) -> RowReader:
    """Return how a program reads the rows of a letter: by its model, or by the letter's receiver.

    Args:
        original: the letter.
        service: the service of the program's models.
        sources: the program's sources of models.
        subscriptions: the program's receivers.

    Raises:
        ConfigurationError: if the program has neither the model nor the receiver.
    """
    letter = original.view
    for source in sources:
        for model in source.described():
            if f"{service}.{model.name}" == letter.model:
                return _reader_of_model(model)
    wanted = (letter.group, letter.model, letter.signal, letter.receiver)
    for each in subscriptions:
        name = original.names.get(each.name, each.name)
        if (each.group, each.model, each.signal, name) == wanted:
            has_schema = each.typed or each.receiver.options.schema is not None
            return RowReader(each.read, typed=has_schema)
    raise ConfigurationError(
        f"this bus has neither the model {letter.model} nor the receiver {letter.receiver}, so "
        "nothing can check the edited event: name a bus that has one of them"
    )


def _reader_of_model(model: SourceModel) -> RowReader:
    # A model of several tables has no such attributes.
    table, key = getattr(model, "table", None), getattr(model, "pk", None)
    columns = [] if table is None else table.columns
    required = frozenset(column.name for column in columns if not column.nullable)
    return RowReader(model.read, frozenset(model.public), required, key)


async def editable(parts: Parts, address: str) -> Editable | None:
    """Return a dead letter that can be edited; None if there is no such letter. Only reads.

    Raises:
        ConfigurationError: for an id that is no id, for a letter that is no event, and for a signed
            letter without its key: workers would refuse the edited event, or trust a forged event.
    """
    group, partition, entry = read_address(address)
    # A page of a single letter: the letter may have megabytes.
    page = await parts.broker.letters(partition, group, before(entry), 1, data=True)
    for buried in page.letters:
        # The letter may be gone, and then the next letter is here.
        if buried.id == entry:
            _check_signature(parts, partition, buried.letter)
            view = letter_of(partition, group, buried)
            data = _data_of(address, buried.letter)
            names = await parts.broker.names(group)
            return Editable(view, partition, entry, buried.letter, data, names)
    return None


def checked_edit(
    original: Editable, data: object, reader: RowReader, *, most_bytes: int
) -> Edit | None:
    """Return the edit after a check that the new data is an event of the model; None if equal.

    Args:
        original: the letter.
        data: the new data.
        reader: reads the rows of the model.
        most_bytes: the size that the data may have, unless the data was larger before.

    Raises:
        ConfigurationError: for data that is no event of the model. The text contains no value.
    """
    old = original.data
    # A receiver takes the row and the changes; another part would be an event of another kind.
    if not isinstance(data, Mapping) or data.keys() != old.keys():
        raise _refusal(f"the data has exactly these parts: {', '.join(old)}")
    for part in old:
        if type(data[part]) is not type(old[part]):
            raise _refusal(f"{part} has to stay a JSON value of its kind")
    if _is_same(data, old):
        return None
    # An event that was too large for its limit before may stay as large.
    if len(dumps(data)) > max(most_bytes, len(dumps(old))):
        raise _refusal(f"the data has {len(dumps(data)):,} bytes, and an event {most_bytes:,}")
    old_row, row = old.get(ROW), data.get(ROW)
    if isinstance(old_row, Mapping) and isinstance(row, Mapping):
        _check_row(old_row, row, reader, original.view.model)
    return Edit(original, data, tuple(_field_edits(old, data)))


async def edit_dead(parts: Parts, edit: Edit, *, by: str | None = None) -> Edited:
    """Replace a dead letter by its edited copy, which comes last, and is signed anew.

    The step is atomic: a letter that another operator has replayed or discarded stays gone. `by` is
    the operator, by default EDGY_BUS_OPERATOR, or the user and the host.
    """
    view = edit.original.view
    # The names of the fields only: the log is no place for values of rows.
    names = ", ".join(field.field for field in edit.fields)
    entry = ActionEntry(
        operator_name(by), "dead edit", view.group, view.receiver, f"{view.id}: {names}"
    )
    return await recorded(parts.broker, entry, _replace(parts, edit), _outcome)


async def _replace(parts: Parts, edit: Edit) -> Edited:
    original, data = edit.original, dumps(edit.data)
    partition, fields = original.partition, {**original.letter.fields, b"data": data}
    if parts.signer is not None:
        signed = (fields[b"id"], fields[b"head"], data)
        fields[FIELD] = parts.signer.sign(partition, *signed)
    view, letter = original.view, replace(original.letter, fields=fields)
    new = await parts.broker.edit(partition, view.group, original.entry, letter)
    address = None if new is None else address_of(partition, view.group, new)
    return Edited(view.id, address, is_signed=parts.signer is not None)


def _outcome(edited: Edited) -> Outcome:
    if edited.id is None:
        return Outcome(0, "the letter was gone")
    return Outcome(1, f"edited: {edited.id}")


def _check_signature(parts: Parts, partition: Partition, letter: DeadLetter) -> None:
    if parts.signer is None:
        if FIELD in letter.fields:
            raise ConfigurationError(
                "the event of this letter is signed, and an edited event needs a new signature: "
                "name a bus with signing_keys"
            )
        return
    # A signature must not turn a forged event into a valid event.
    try:
        parts.signer.check(partition, letter.fields)
    except EventError as error:
        raise ConfigurationError(f"this letter is not signed by this bus: {error}") from error


def _data_of(address: str, letter: DeadLetter) -> Data:
    envelope = event_of(letter)
    try:
        data = None if envelope is None else envelope.open().data
    except EdgyBusError:
        data = None
    has_header = {b"id", b"head"} <= letter.fields.keys()
    if data is None or not has_header:
        raise ConfigurationError(f"{address} is no event of this library, and cannot be edited")
    return data


def _check_row(
    old: Mapping[str, object], row: Mapping[str, object], reader: RowReader, model: str
) -> None:
    # The row may have fields of an earlier release of the model, which its receivers know.
    known = old.keys() | (reader.fields or ())
    if unknown := sorted(row.keys() - known):
        raise _refusal(f"no field {', '.join(unknown)}; the fields are {', '.join(sorted(known))}")
    # Lanes, partitions and inboxes go by the key in the header.
    if reader.key is not None and row.get(reader.key) != old.get(reader.key):
        raise _refusal(f"{reader.key} is the key of the row, which the header of the event names")
    if nulls := sorted(name for name in reader.required & row.keys() if row[name] is None):
        raise _refusal(f"{', '.join(nulls)} cannot be null")
    if not reader.typed:
        _check_kinds(old, row)
    try:
        fitted(reader.read, row, model)
    except ContractError as error:
        raise _refusal(str(error)) from None


def _check_kinds(old: Mapping[str, object], row: Mapping[str, object]) -> None:
    """Check that values keep their kind, where no model and no schema knows the kind."""
    for name, value in row.items():
        before_value = old.get(name)
        if None not in (value, before_value) and type(value) is not type(before_value):
            raise _refusal(f"{name} has to stay a JSON value of its kind")


def _field_edits(old: Data, new: Data) -> Iterable[FieldEdit]:
    """Yield the fields of the row, and the other parts of the data, that differ."""
    for part in old:
        old_part, new_part = old[part], new[part]
        if part != ROW or not isinstance(old_part, Mapping) or not isinstance(new_part, Mapping):
            if not _is_same(old_part, new_part):
                yield FieldEdit(part, old_part, new_part)
            continue
        for name in {**old_part, **new_part}:
            # A field that is missing is unknown, and differs from null.
            is_here_and_there = name in old_part and name in new_part
            if not is_here_and_there or not _is_same(old_part[name], new_part[name]):
                yield FieldEdit(name, old_part.get(name), new_part.get(name))


def _is_same(old: object, new: object) -> bool:
    # As JSON: 1 and true are equal in Python.
    return dumps(old) == dumps(new)


def _refusal(reason: str) -> ConfigurationError:
    return ConfigurationError(f"the edited letter would be no event of its model: {reason}")


def with_fields(data: Data, assignments: Iterable[str]) -> Data:
    """Return the data of an event with new values of the row.

    Args:
        data: the data.
        assignments: texts of the form FIELD=JSON.

    Raises:
        ConfigurationError: for a text of another form, and for an event without a row.
    """
    row = data.get(ROW)
    if not isinstance(row, Mapping):
        raise ConfigurationError("the event of this letter has no row: edit it with --editor")
    values = dict(row)
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not sign or not name:
            raise ConfigurationError(_no_assignment(name))
        try:
            values[name] = loads(text)
        except EventError:
            raise ConfigurationError(_no_assignment(name)) from None
    return {**data, ROW: values}


def data_from(text: str) -> object:
    """Return the data that an operator has written. Raises `ConfigurationError` for no JSON."""
    try:
        return loads(text)
    except EventError as error:
        raise ConfigurationError(f"the edited text is {error}") from error


def _no_assignment(name: str) -> str:
    # Not the value, which may be a secret of the row.
    return f"--set {name}=…: write FIELD=JSON; a text has quotes, 'name=\"Ana\"'"
