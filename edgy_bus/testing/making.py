"""Make instances and events for tests, with a default for every value that a test does not name."""

import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TypeVar

import pydantic

from edgy_bus.bus import Bus
from edgy_bus.codec import key_text
from edgy_bus.errors import ConfigurationError
from edgy_bus.events import ContextValue, Event, new_event_id, now
from edgy_bus.models import Model
from edgy_bus.models.fields import Field
from edgy_bus.signals import BUILT_IN, Receiver
from edgy_bus.signals.decorators import Connector
from edgy_bus.signals.spelling import resembling, suggestion
from edgy_bus.sources import SourceModel

M = TypeVar("M", bound=Model)

Made = Model | type[Model] | str
"""What an event is made of: an instance, a class, or the name of a model of another service."""

Changes = Mapping[str, tuple[object, object]]
"""Fields to their old and new values."""

_DAY = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)

_numbers = itertools.count(1)

_DEFAULTS: Mapping[type, Callable[[str, int], object]] = {
    bool: lambda _name, _number: False,
    str: lambda name, number: f"{name} {number}",
    int: lambda _name, number: number,
    float: lambda _name, number: float(number),
    Decimal: lambda _name, number: Decimal(number),
    bytes: lambda name, number: f"{name} {number}".encode(),
    uuid.UUID: lambda _name, number: uuid.UUID(int=number),
    dt.datetime: lambda _name, number: _DAY + dt.timedelta(minutes=number),
    dt.date: lambda _name, number: _DAY.date() + dt.timedelta(days=number),
    dt.time: lambda _name, number: (_DAY + dt.timedelta(minutes=number)).time(),
    dt.timedelta: lambda _name, number: dt.timedelta(seconds=number),
}


def make(model: type[M], /, **values: object) -> M:
    """Return an instance that is not saved, with defaults for required fields without a value.

    The defaults of two instances differ: `name 1`, `name 2`.

    Args:
        model: the class.
        values: values of fields.

    Raises:
        ConfigurationError: for a field whose rules refuse the default, naming the field.
        ValidationError: of pydantic, for a value of `values` that the model refuses.
    """
    # The same number for all fields of an instance, which a failing test shows together.
    number = next(_numbers)
    defaults = {
        name: _default(name, field, number)
        for name, field in model.meta.fields.items()
        if name not in values and not field.is_made and model.model_fields[name].is_required()
    }
    try:
        return model(**{**defaults, **values})
    except pydantic.ValidationError as error:
        refused = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
        if refused & defaults.keys():
            names = ", ".join(sorted(refused & defaults.keys()))
            raise ConfigurationError(
                f"make({model.__name__}) knows no value for {names} that the model accepts: name "
                f"one, make({model.__name__}, {sorted(refused & defaults.keys())[0]}=…)"
            ) from error
        raise


def _default(name: str, field: Field, number: int) -> object:
    if field.kind.choices is not None:
        return next(iter(field.kind.choices))
    if field.kind.function == "EmailField":
        return f"{name}{number}@example.com"
    # The annotation wins: a field may convert the values of its column.
    for kind, default in _DEFAULTS.items():
        if field.annotation is kind or field.kind.natural is kind:
            return default(name, number)
    return {}  # JSON


def _checked_pairs(changes: Changes) -> Changes:
    for field, pair in changes.items():
        # A receiver gets a mapping of two keys, which would be taken apart into its keys.
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ConfigurationError(
                f"event(changes=…): {field!r} has {pair!r}: write a pair, (old, new)"
            )
    return changes


def signal_name(signal: Connector | str) -> str:
    """Return the name of a signal."""
    return signal.name if isinstance(signal, Connector) else signal


class EventMaker:
    """Make events of the models of a bus, and find models by what a test writes."""

    def __init__(self, app: Bus) -> None:
        self._app = app
        # Above what a database assigns in a test: an inbox must not take the event for an old one.
        self._sequence = itertools.count(1_000_000_000)
        self._keys = itertools.count(1)

    def models(self) -> Iterator[SourceModel]:
        """Yield the models of the bus."""
        for source in self._app.registries:
            yield from source.described()

    def local_receivers(self) -> Iterator[Receiver]:
        """Yield the receivers that run in the process of the operation."""
        for model in self.models():
            for signal in model.signals:
                yield from (each for each in signal.receivers if each.options.local)

    def event(
        self,
        signal: Connector | str,
        model: Made,
        row: Mapping[str, object] | None,
        *,
        changes: Changes | None,
        context: Mapping[str, ContextValue],
    ) -> Event:
        """Return an event; see `InlineBus.event`."""
        name, stored = self._row(model, row)
        chosen = self._signal(signal, self._ours(name))
        data: dict[str, object] = {"instance": stored, "is_update": chosen == "post_update"}
        if chosen == "post_update":
            data["assigned"] = list(stored if changes is None else changes)
        if changes is not None:
            data["changes"] = {
                field: {"old": old, "new": new}
                for field, (old, new) in _checked_pairs(changes).items()
            }
        key = stored.get(self._key_of(name), None)
        is_intent = chosen.startswith("pre_")
        return Event(
            id=new_event_id(),
            source=name.rpartition(".")[0],
            model=name,
            signal=chosen,
            subject=None if key is None else key_text(key),
            time=now(),
            data=data,
            sequence=None if is_intent else next(self._sequence),
            context=context,
        )

    def chosen(
        self, signal: Connector | str | None, model: type | str | None
    ) -> tuple[str | None, str | None]:
        """Return the names of a signal and of a model by which events are chosen.

        Raises:
            ConfigurationError: for a model or a signal that does not exist.
        """
        described = None if model is None else self._model(model)
        wanted = None if signal is None else self._signal(signal, described)
        return wanted, None if described is None else f"{self._app.service}.{described.name}"

    def _row(self, model: Made, row: Mapping[str, object] | None) -> tuple[str, dict[str, object]]:
        """Return the name of a model, and the row as an event contains it."""
        if isinstance(model, str):
            if "." not in model:
                raise ConfigurationError(
                    f"event(): {model!r} does not name a model of a service: write "
                    f'"service.{model}", or give the class'
                )
            return model, {"id": next(self._keys), **(row or {})}
        if not isinstance(model, Model) and not (
            isinstance(model, type) and issubclass(model, Model)
        ):
            shown = model if isinstance(model, type) else type(model)
            raise ConfigurationError(
                f"event() makes no row of {shown.__name__}, which is no model of this library: "
                f'write its name and its row, event("post_save", "{self._app.service}.'
                f'{shown.__name__}", {{…}})'
            )
        instance = model if isinstance(model, Model) else make(model, **(row or {}))
        described = self._model(type(instance))
        values = dict(described.stored(instance.snapshot()))
        key = type(instance).meta.pk
        if values.get(key) is None:
            values[key] = next(self._keys)
        return f"{self._app.service}.{described.name}", values

    def _key_of(self, name: str) -> str:
        described = self._ours(name)
        key: str = "id" if described is None else getattr(described, "pk", "id")
        return key

    def _ours(self, name: str) -> SourceModel | None:
        for model in self.models():
            if f"{self._app.service}.{model.name}" == name:
                return model
        return None

    def _model(self, model: type | str) -> SourceModel:
        names: list[str] = []
        for each in self.models():
            full_name = f"{self._app.service}.{each.name}"
            # A class is compared by identity: models of two tests may have one name.
            if each.sender is model or model in (each.name, full_name):
                return each
            names.append(full_name)
        wanted = model if isinstance(model, str) else model.__name__
        raise ConfigurationError(
            f"this bus has no model {wanted!r}{suggestion(wanted, names, 'its models are')}. A "
            "model belongs to the bus of its registry: Registry(database, bus=bus)"
        )

    def _signal(self, signal: Connector | str, model: SourceModel | None) -> str:
        name = signal_name(signal)
        names = BUILT_IN if model is None else [each.name for each in model.signals]
        # A model of another service may have any signal.
        if name in names or (model is None and resembling(name, BUILT_IN) is None):
            return name
        owner = "a model" if model is None else model.name
        raise ConfigurationError(
            f"{owner} has no signal {name!r}{suggestion(name, names, 'its signals are')}"
        )
