"""Groups of receivers: which groups have read streams, and the end of a group."""

from dataclasses import dataclass

from edgy_bus.brokers.base import ActionEntry, Broker
from edgy_bus.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from edgy_bus.events import Partition, service_of
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.parts import Parts
from edgy_bus.operations.surveys import streams_of
from edgy_bus.outbox.store import OutboxStore


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A group of receivers that streams no longer wait for."""

    group: str
    models: tuple[str, ...]
    """Models whose streams or databases knew the group."""


async def group_names(broker: Broker) -> tuple[str, ...]:
    """Return the names of all groups that have read a stream. Only reads."""
    names: set[str] = set()
    for model, count in (await broker.declared()).items():
        for partition in streams_of(model, count):
            names |= await _groups_of(broker, partition)
    return tuple(sorted(names))


async def require_group(broker: Broker, group: str) -> None:
    """Raise `ConfigurationError` if no group of this name has read a stream. Only reads."""
    present = await group_names(broker)
    if group not in present:
        listed = ", ".join(present) or "none"
        raise ConfigurationError(f"no group {group!r} has read a stream; the groups are: {listed}")


async def forget(parts: Parts, group: str, *, by: str | None = None) -> Forgotten:
    """Forget a group that does not come back: no stream of the service waits for the group.

    The dead letters of the group stay. Repeating an interrupted call completes the work. The
    databases of the outboxes must be connected. `by` is the operator, by default
    EDGY_BUS_OPERATOR, or the user and the host.

    Raises:
        ConfigurationError: while workers of the group are alive, or if an outbox has no tables.
    """
    return await recorded(
        parts.broker,
        ActionEntry(operator_name(by), "group forget", group, choice=f"of {parts.service}"),
        _forget(parts, group),
        lambda forgotten: Outcome(len(forgotten.models), _result_of(forgotten)),
    )


def _result_of(forgotten: Forgotten) -> str:
    if not forgotten.models:
        return "no model knew the group"
    return f"removed from {', '.join(forgotten.models)}"


async def _forget(parts: Parts, group: str) -> Forgotten:
    broker = parts.broker
    await _refuse_living(broker, group)
    models = {model for store in parts.outboxes for model in await _models_with(store, group)}
    for model, count in (await broker.declared()).items():
        if service_of(model) != parts.service:
            continue
        for partition in streams_of(model, count):
            if group in await _groups_of(broker, partition):
                models.add(model)
            # Also where the stream has no such group: the notes of the group may have remained.
            await broker.forget(partition, group)
    await broker.disband(group)
    # The databases come last: a relay that trims meanwhile notes each group that the broker knows.
    for store in parts.outboxes:
        await store.forget_group(group)
    return Forgotten(group, tuple(sorted(models)))


async def _groups_of(broker: Broker, partition: Partition) -> set[str]:
    return {backlog.group for backlog in await broker.backlog(partition)}


async def _refuse_living(broker: Broker, group: str) -> None:
    workers = (await broker.members(group)).alive
    if workers:
        raise ConfigurationError(
            f"the group {group!r} has {len(workers)} workers that are alive "
            f"({', '.join(sorted(workers))}): stop them first"
        )


async def _models_with(store: OutboxStore, group: str) -> list[str]:
    try:
        groups = await store.groups()
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        raise ConfigurationError(
            f"the outbox cannot be read: {error}. Start the service once, which creates its tables"
        ) from error
    return [model for model, names in groups.items() if group in names]
