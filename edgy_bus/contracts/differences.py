"""Compare two contracts, and judge each change by its effect on consumers.

The rule: a change is *breaking* if an event of the new contract may not fit the old contract, to
which consumers were written, or if a consumer looks for a field or an event in vain. A change needs
*care* if an event of the old contract may not fit the new contract: streams, dead letters and the
outbox still have old events, and a replay brings old events to new consumers. Every other change is
*fine*.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from edgy_bus.contracts.misfits import Fitting, Misfit
from edgy_bus.contracts.reading import Reading
from edgy_bus.contracts.shapes import ATTRIBUTES, reference


class Effect(IntEnum):
    """The effect of a change on consumers."""

    FINE = 0
    """Consumers go on, and new consumers understand old events."""
    CARE = 1
    """Consumers go on. Events from before the change may not fit the new contract."""
    BREAKING = 2
    """Consumers of the old contract may fail, or miss something."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a contract.

    Attributes:
        code: the kind of change, the same from release to release.
        effect: the effect on consumers.
        where: the model, signal, field, channel or receiver.
        text: a predicate of `where`.
    """

    code: str
    effect: Effect
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """All changes between two contracts, the worst first."""

    changes: tuple[Change, ...]

    def fails(self, least: Effect) -> bool:
        """Return whether a change is at least as bad as `least`."""
        return any(change.effect >= least for change in self.changes)


def compare(old: Reading, new: Reading) -> Difference:
    """Return the changes from the old contract to the new contract."""
    changes = [
        *_messages(old, new),
        *_channels(old, new),
        *_shapes(old, new),
        *_receivers(old, new),
    ]
    return Difference(
        tuple(sorted(changes, key=lambda each: (-each.effect, each.where, each.code)))
    )


def _messages(old: Reading, new: Reading) -> Iterator[Change]:
    before, after = old.models(), new.models()
    removed = [model for model in before if model not in after]
    added = [model for model in after if model not in before]
    renamed = _pairs(
        {model: _fields(old, model) for model in removed},
        {model: _fields(new, model) for model in added},
    )
    for model in removed:
        if model in renamed:
            text = f"is gone; {renamed[model]} is new and has the same fields: a renamed model?"
            yield Change("model-renamed", Effect.BREAKING, model, text)
        else:
            yield Change("model-removed", Effect.BREAKING, model, "is not published any more")
    for model in added:
        if model not in renamed.values():
            yield Change("model-added", Effect.FINE, model, "is published now")
    # A new signal is fine: consumers skip events of types that they do not know.
    for model in before.keys() & after.keys():
        for signal in set(before[model]) - set(after[model]):
            text = "is not published any more"
            yield Change("signal-removed", Effect.BREAKING, f"{model}.{signal}", text)
        for signal in set(after[model]) - set(before[model]):
            yield Change("signal-added", Effect.FINE, f"{model}.{signal}", "is published now")


def _fields(reading: Reading, model: str) -> str:
    return repr(reading.definitions.get(model, {}).get("properties"))


def _pairs(removed: Mapping[str, str], added: Mapping[str, str]) -> Mapping[str, str]:
    """Return removed names with the new names of the same things.

    Things of several names prove nothing: a description has to occur once on each side.
    """
    pairs: dict[str, str] = {}
    for name, description in removed.items():
        alike = [new for new in added if added[new] == description]
        rivals = [old for old in removed if removed[old] == description]
        if len(alike) == len(rivals) == 1:
            pairs[name] = alike[0]
    return pairs


def _channels(old: Reading, new: Reading) -> Iterator[Change]:
    # A JSON Schema knows no channels.
    before, after = old.channels or {}, new.channels or {}
    for name in before.keys() & after.keys():
        was, is_ = before[name], after[name]
        if was.address != is_.address:
            text = f"has streams at {is_.address}, and had them at {was.address}"
            yield Change("address-changed", Effect.BREAKING, name, text)
        # Without a list of streams, the model belongs to another service.
        if was.streams and is_.streams and was.streams != is_.streams:
            text = f"has {len(is_.streams)} streams, and had {len(was.streams)}"
            yield Change("streams-changed", Effect.BREAKING, name, text)


def _shapes(old: Reading, new: Reading) -> Iterator[Change]:
    # The same comparison twice: new events for old consumers, and old events for new consumers.
    breaking = list(dict.fromkeys(_misfits(new, old)))
    care = list(dict.fromkeys(_misfits(old, new)))
    removed = {each.where: each for each in breaking if each.kind == "absent"}
    added = {each.where: each for each in care if each.kind == "absent"}
    renamed = _renamed(removed, added)
    for where, successor in renamed.items():
        text = f"is gone; {_last(successor)} is new and has the same type: a renamed field?"
        yield Change("field-renamed", Effect.BREAKING, where, text)
    # Consumers look for a removed field in vain, even where the field was optional.
    for where in removed.keys() - renamed.keys():
        yield Change("field-removed", Effect.BREAKING, where, "is gone")
    for where in added.keys() - set(renamed.values()):
        if added[where].is_required:
            text = "is new, and missing in events from before"
            yield Change("field-added", Effect.CARE, where, text)
        else:
            yield Change("field-added", Effect.FINE, where, "is new, and may be missing")
    yield from _judged(breaking, Effect.BREAKING, _BREAKING)
    # A type that has changed altogether is one change.
    reported = {(each.kind, each.where) for each in breaking}
    yield from _judged(
        (each for each in care if (each.kind, each.where) not in reported), Effect.CARE, _CARE
    )


def _renamed(removed: Mapping[str, Misfit], added: Mapping[str, Misfit]) -> Mapping[str, str]:
    """Return removed fields with the added fields that replace them."""
    return _pairs(
        {where: f"{_object(where)} {each.schema}" for where, each in removed.items()},
        {where: f"{_object(where)} {each.schema}" for where, each in added.items()},
    )


def _object(where: str) -> str:
    return where.rpartition(".")[0]


def _last(where: str) -> str:
    return where.rpartition(".")[2]


def _misfits(ours: Reading, theirs: Reading) -> Iterator[Misfit]:
    """Return the reasons why events of our contract may not fit their contract."""
    fitting = Fitting(ours, theirs)
    # Rows first, with their own names; the messages refer to the rows.
    for name in (ATTRIBUTES, *sorted(ours.models().keys() & theirs.models().keys())):
        yield from fitting.misfits(reference(name), reference(name), name)
    for message in sorted(ours.messages.keys() & theirs.messages.keys()):
        pair = ours.messages[message], theirs.messages[message]
        yield from fitting.misfits(*pair, f"{message}.data")


Say = Callable[[Misfit], str]

# The new events are "ours" where consumers break, and the old events where care is needed.

_BREAKING: Mapping[str, tuple[str, Say]] = {
    "optional": ("field-optional", lambda _: "may be missing now"),
    "nullable": ("field-nullable", lambda _: "may be null now"),
    "type": ("type-changed", lambda each: f"is {each.ours} now, and was {each.theirs}"),
    "values": ("values-added", lambda each: f"may be {each.ours} now, and was {each.theirs}"),
    "format": ("format-changed", lambda each: f"is {each.ours} now, and was {each.theirs}"),
    "limit": ("limit-widened", lambda each: f"is {each.ours} now, and was {each.theirs}"),
    "closed": ("names-added", lambda _: "may have other names now"),
    "keyword": ("keyword-changed", lambda each: f"has another {each.ours!r}: judge it yourself"),
}

_CARE: Mapping[str, tuple[str, Say]] = {
    "optional": ("field-required", lambda _: "is never missing now, and was in events before"),
    "nullable": ("field-not-null", lambda _: "is never null now, and was in events before"),
    "type": ("type-narrowed", lambda each: f"is {each.theirs} now, and was {each.ours}"),
    "values": ("values-removed", lambda each: f"is {each.theirs} now, and was {each.ours}"),
    "format": ("format-narrowed", lambda each: f"is {each.theirs} now, and was {each.ours}"),
    "limit": ("limit-narrowed", lambda each: f"is {each.theirs} now, and was {each.ours}"),
    "closed": ("names-removed", lambda _: "has fewer names now"),
    "keyword": ("keyword-added", lambda each: f"has another {each.ours!r}: judge it yourself"),
}


def _judged(
    misfits: Iterable[Misfit], effect: Effect, words: Mapping[str, tuple[str, Say]]
) -> Iterator[Change]:
    for misfit in misfits:
        if misfit.kind in words:
            code, say = words[misfit.kind]
            yield Change(code, effect, misfit.where, say(misfit))


def _receivers(old: Reading, new: Reading) -> Iterator[Change]:
    # A JSON Schema knows no receivers either. Their changes break nobody else.
    if old.channels is None or new.channels is None:
        return
    for each in old.receivers - new.receivers:
        receiver, _, message = each.partition(" ")
        text = f"does not get {message} any more"
        yield Change("receiver-removed", Effect.FINE, receiver, text)
    for each in new.receivers - old.receivers:
        receiver, _, message = each.partition(" ")
        yield Change("receiver-added", Effect.FINE, receiver, f"gets {message} now")
