"""The streams of a broker, page by page: what every view of an operator begins with."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from edgy_bus.brokers.base import Broker, StreamSurvey
from edgy_bus.events import PRE, Partition, partitions_of

_PAGE = 200
"""Streams that are in memory at the same time."""


_YEAR_2001 = 10**12
"""Milliseconds. Workers of earlier releases number their tenures from 1 on."""

_YEAR_5138 = 10**14


def streams_of(model: str, count: int) -> tuple[Partition, ...]:
    """Return every stream of a model that has `count` partitions."""
    return (*partitions_of(model, count), Partition(model, PRE))


async def surveyed(
    broker: Broker, declared: Mapping[str, int], model: str | None = None
) -> AsyncIterator[StreamSurvey]:
    """Survey the streams of all declared models, or of one model. Only reads."""
    # Sorted, so that two views of the same streams can be compared.
    names = [name for name in sorted(declared) if model in (None, name)]
    partitions = [each for name in names for each in streams_of(name, declared[name])]
    # In pages: the streams of a large system have tens of thousands of groups together.
    for at in range(0, len(partitions), _PAGE):
        for stream in await broker.survey(partitions[at : at + _PAGE]):
            yield stream


def worker_of(tenure: str) -> str:
    """Return the worker of a tenure's name, TOKEN.WORKER.NUMBER."""
    # Any program may have written the holder: what has another form is shown as it is.
    _, _, owner = tenure.partition(".")
    return owner.rpartition(".")[0] or owner


def since_of(tenure: str) -> datetime | None:
    """Return when a tenure began, by the clock of its worker; None if its name does not say."""
    number = tenure.rpartition(".")[2]
    if not (number.isascii() and number.isdigit() and len(number) <= 15):
        return None
    milliseconds = int(number)
    # Any program may have written the holder.
    if not _YEAR_2001 <= milliseconds < _YEAR_5138:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
