"""The contract of a service: the events that leave the service, and those of its receivers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.sources import DescribedModel, RowSchemas, Source, SourceModel

Publishes = Callable[[SourceModel, str], bool]
"""Returns whether a model's signal goes to the broker."""


@dataclass(frozen=True, slots=True)
class ModelContract:
    """A model whose events leave the service.

    Attributes:
        name: the model with its service, `accounts.User`.
        signals: the signals that go to the broker.
        rows: the fields of an event's row; secret fields are absent.
        description: the docstring of the class; empty without one.
    """

    name: str
    signals: tuple[str, ...]
    rows: RowSchemas
    description: str = ""


@dataclass(frozen=True, slots=True)
class ReceiverContract:
    """A receiver that runs in workers.

    Attributes:
        group: the consumer group.
        name: the durable name of the receiver.
        model: the model with its service.
        signal: the signal.
        fields: the fields of the row that the receiver's `schema` reads; empty without a schema.
    """

    group: str
    name: str
    model: str
    signal: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contract:
    """The promise of a service to other services.

    Attributes:
        service: the service.
        version: of the program; empty if the program states none.
        prefix: begins every key at the broker.
        partitions: the streams of each model.
        models: the models that the service publishes.
        receivers: the receivers of the service's groups.
    """

    service: str
    version: str
    prefix: str
    partitions: int
    models: tuple[ModelContract, ...]
    receivers: tuple[ReceiverContract, ...]


def model_contracts(service: str, sources: Iterable[Source]) -> tuple[ModelContract, ...]:
    """Return the models of sources with a signal that goes to the broker, by name."""
    # The writer of a source knows the patterns of `publish`, of the bus and of the model.
    contracts = [
        _model(service, model, source.writer.records)
        for source in sources
        for model in source.described()
    ]
    return tuple(sorted((each for each in contracts if each.signals), key=lambda each: each.name))


def _model(service: str, model: SourceModel, publishes: Publishes) -> ModelContract:
    signals = [signal.name for signal in model.signals if publishes(model, signal.name)]
    # A source that knows no types still names its fields. The schema {} allows any value.
    rows = RowSchemas({name: {} for name in model.public}, {})
    if isinstance(model, DescribedModel):
        rows = model.schemas()
    # Of the class itself: an inherited docstring describes another model.
    description = model.sender.__dict__.get("__doc__") or ""
    return ModelContract(f"{service}.{model.name}", tuple(signals), rows, description.strip())


def receiver_contracts(subscriptions: Sequence[Subscription]) -> tuple[ReceiverContract, ...]:
    """Return the receivers of subscriptions, by group, model, signal and name."""
    # Sorted, so that another order of imports does not change the document.
    contracts = [
        ReceiverContract(each.group, each.name, each.model, each.signal, _fields(each))
        for each in subscriptions
    ]
    return tuple(
        sorted(contracts, key=lambda each: (each.group, each.model, each.signal, each.name))
    )


def _fields(subscription: Subscription) -> tuple[str, ...]:
    schema = subscription.receiver.options.schema
    return () if schema is None else tuple(schema.model_fields)
