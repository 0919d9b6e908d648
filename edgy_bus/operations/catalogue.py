"""Who publishes and who subscribes, as a broker knows it: declared models and groups' rosters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgy_bus.brokers.base import Broker
from edgy_bus.events import service_of
from edgy_bus.operations.receivers import ReceiverStatus, all_receivers


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A receiver that subscribes to a signal of a model."""

    signal: str
    group: str
    receiver: str
    workers: int
    """The live workers that have the receiver."""


@dataclass(frozen=True, slots=True)
class CataloguedModel:
    """A model that a service publishes, or that receivers wait for in vain."""

    name: str
    """With its service: `accounts.User`."""
    service: str
    partitions: int | None
    """The streams; None if no relay has declared the model."""
    subscribers: tuple[Subscriber, ...]

    @property
    def is_published(self) -> bool:
        """Return whether a service has declared the model."""
        return self.partitions is not None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models of a broker, by name."""

    models: tuple[CataloguedModel, ...]

    @property
    def unpublished(self) -> tuple[CataloguedModel, ...]:
        """Return the models that have subscribers, and no publisher."""
        return tuple(model for model in self.models if not model.is_published)


async def catalogue(broker: Broker) -> Catalogue:
    """Return who publishes and who subscribes. Only reads.

    A group is known once it has read a stream, and a model once its relay has run.
    """
    # Models first: a group that appears meanwhile reads a model that is listed already.
    return catalogue_of(await broker.declared(), await all_receivers(broker))


def catalogue_of(declared: Mapping[str, int], receivers: Sequence[ReceiverStatus]) -> Catalogue:
    """Return the catalogue of declared models and receivers; forgotten receivers are left out.

    Args:
        declared: the models with their numbers of partitions.
        receivers: the receivers of every group.
    """
    # A model without a subscriber is listed too: nobody may need its events any more.
    subscribers: dict[str, list[Subscriber]] = {model: [] for model in declared}
    for receiver in receivers:
        # Nothing waits for a forgotten receiver.
        for subject in () if receiver.forgotten else receiver.signals:
            model, _, signal = subject.rpartition(".")
            subscriber = Subscriber(signal, receiver.group, receiver.name, len(receiver.workers))
            subscribers.setdefault(model, []).append(subscriber)
    # By name, so that a script can compare two answers.
    return Catalogue(
        tuple(
            CataloguedModel(
                name=model,
                service=service_of(model),
                partitions=declared.get(model),
                subscribers=tuple(
                    sorted(listed, key=lambda each: (each.signal, each.group, each.receiver))
                ),
            )
            for model, listed in sorted(subscribers.items())
        )
    )
