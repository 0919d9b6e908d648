"""Follow the events of the streams while they are published. Only reads."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from edgy_bus.brokers.base import START, Broker, EntryId
from edgy_bus.codec import dumps
from edgy_bus.events import Partition
from edgy_bus.operations.journeys import EventSummary
from edgy_bus.operations.sightings import Met, events_at
from edgy_bus.operations.surveys import streams_of

_AT_ONCE = 16
"""Streams that are read side by side."""

_PAGE = 200
"""Entries of a stream that a step looks at."""


@dataclass(frozen=True, slots=True)
class Following:
    """Say which events to follow; None: any.

    Attributes:
        model: the model with its service.
        signal: the signal's name.
        subject: the key of the row.
    """

    model: str | None = None
    signal: str | None = None
    subject: str | None = None

    @property
    def text(self) -> bytes:
        """Return a text that the header of each of these events contains."""
        return b"" if self.subject is None else b'"subject":' + dumps(self.subject)

    def wants(self, event: EventSummary) -> bool:
        """Return whether to follow an event."""
        # A header of another program may contain the text in another place.
        return self.subject in (None, event.subject) and self.signal in (None, event.signal)


_Read = Callable[[Partition], Awaitable[list[Met]]]


class Tail:
    """Read the streams from a place on, step by step.

    Args:
        broker: the broker; no lease and no group is needed.
        following: which events to follow.

    Attributes:
        is_behind: whether the last step left entries that had been published by then.
        models: the models that services had declared by then.
    """

    def __init__(self, broker: Broker, following: Following) -> None:
        self._broker = broker
        self._following = following
        self.is_behind = False
        self.models: tuple[str, ...] = ()
        self._positions: dict[Partition, EntryId] = {}

    async def begin(self, last: int = 0) -> Sequence[EventSummary]:
        """Begin behind the newest entries; return the newest `last` events that are followed.

        They are looked for among the newest entries of each stream, as many as a step looks at.
        """
        events = await self._of_each(await self._partitions(), self._newest)
        return _in_order(events)[-last:] if last else []

    async def step(self) -> Sequence[EventSummary]:
        """Return the events since the last step, oldest entries first.

        A stream of a model that is declared meanwhile is read from its beginning.
        """
        self.is_behind = False
        return _in_order(await self._of_each(await self._partitions(), self._next))

    async def _partitions(self) -> list[Partition]:
        declared, wanted = await self._broker.declared(), self._following.model
        self.models = tuple(sorted(declared))
        return [
            partition
            for model in self.models
            if wanted in (None, model)
            for partition in streams_of(model, declared[model])
        ]

    async def _of_each(self, partitions: Sequence[Partition], read: _Read) -> list[Met]:
        events: list[Met] = []
        for at in range(0, len(partitions), _AT_ONCE):
            pages = await asyncio.gather(*map(read, partitions[at : at + _AT_ONCE]))
            events += [each for page in pages for each in page if self._following.wants(each.event)]
        return events

    async def _newest(self, partition: Partition) -> list[Met]:
        text = self._following.text
        # Any text is in the newest entry: this page is for the position.
        newest = await self._broker.search(partition, b"", count=1, backwards=True)
        end = self._positions[partition] = newest.last or START
        if newest.last is None:
            return []
        page = await self._broker.search(partition, text, end.next, _PAGE, backwards=True)
        return events_at(partition, page.landmarks)

    async def _next(self, partition: Partition) -> list[Met]:
        start = self._positions.setdefault(partition, START)
        page = await self._broker.search(partition, self._following.text, start, _PAGE)
        if page.last is not None:
            self._positions[partition] = page.last
        self.is_behind = self.is_behind or page.looked_at == _PAGE
        return events_at(partition, page.landmarks)


def _in_order(events: Sequence[Met]) -> list[EventSummary]:
    """Return events in the order of their entries, which is about that of their publishing."""
    return [each.event for each in sorted(events, key=lambda each: each.entry)]
