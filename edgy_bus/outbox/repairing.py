"""Makes the database agree with streams that do not stand where the database left them.

A stream that is ahead was left by a relay that crashed between the append and the mark. A stream
without the known head has lost entries, and begins a new epoch. Either way the stream is right
about what is published, and the database about what is not.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Landmark, StreamHead, StreamState
from edgy_bus.brokers.protocol import Agreement
from edgy_bus.codec import numbering
from edgy_bus.errors import ConfigurationError
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store import OutboxStore, Recognised, strangers_of
from edgy_bus.outbox.troubles import Troubles, Work
from edgy_bus.telemetry import catalogue


class Repairer:
    """Compares streams with the database. `models` returns numbers of partitions by model."""

    def __init__(
        self,
        store: OutboxStore,
        broker: Broker,
        models: Callable[[], Mapping[str, int]],
        troubles: Troubles,
    ) -> None:
        self.verified = False
        """Whether every stream was compared in this tenure. Nothing is published before."""
        self._store = store
        self._broker = broker
        self._models = models
        self._troubles = troubles
        self._agreement = Agreement(broker)

    async def step(self) -> None:
        """Compare all streams with the database, and repair them. Raises what `declare` raises."""
        self.verified = False
        await self.declare()
        # Before the streams are compared, because a comparison that fails takes this back. A stream
        # in trouble does not: the other streams would wait for it.
        self.verified = True
        for partition, head in (await self._store.heads()).items():
            await self.look_at(partition, head)

    async def declare(self) -> None:
        """Make the protocol and the numbers of partitions known at the broker.

        Raises `ConfigurationError` for another number than the published, and for keys that only
        newer releases may use; nothing is published then.
        """
        await self.renew()
        for model in self.models():
            await self.declare_model(model)

    async def renew(self) -> None:
        """Make the protocol known at the broker; raises as `declare`."""
        with self._unverified():
            await self._agreement.renew()

    def models(self) -> Sequence[str]:
        """Return the models to declare."""
        return list(self._models())

    async def declare_model(self, model: str) -> None:
        """Make the number of a model's partitions known at the broker; raises as `declare`."""
        partitions = self._models()[model]
        with self._unverified():
            number = await self._broker.declare(model, partitions)
            if number != partitions:
                raise ConfigurationError(
                    f"{model} was published with {number} partitions and cannot change to "
                    f"{partitions}: set EventSettings(partitions={number}); its events wait in the "
                    "outbox"
                )

    @contextmanager
    def _unverified(self) -> Iterator[None]:
        # Until the end: an error must keep everything from being published.
        verified, self.verified = self.verified, False
        yield
        self.verified = verified

    async def look_at(self, partition: Partition, head: StreamHead) -> bool:
        """Compare a stream with the database, and repair; return whether they agree now.

        An error of this stream alone is noted.
        """
        with self._troubles.of(partition, Work.REPAIRING):
            agree = await self._repair(partition, head)
            self.verified = self.verified and agree
            return agree
        return False

    async def _repair(self, partition: Partition, head: StreamHead) -> bool:
        """Make the database agree with a stream.

        Returns:
            False if the stream was replaced while it was read, or another relay moved the head.
        """
        # The fresh name is for a stream that has lost its head: nothing is appended behind a loss
        # in the epoch in which it happened, because the broker may give lost numbers out again.
        state = await self._broker.inspect(partition, head, secrets.token_hex(8))
        if state.head == head:
            return True
        recognised = await self._recognise(partition, state)
        if recognised is None:
            return False
        # A head without an epoch is of a stream that this database has never published to.
        published_before = bool(head.epoch)
        if published_before and state.epoch != head.epoch:
            recognised.append(await self._parked(partition))
        repair = await self._store.repairs.resynchronise(partition, head, state.head, recognised)
        if repair.done and published_before:
            telemetry.emit(
                catalogue.RelayResynchronised(
                    partition=str(partition),
                    marked=sum(len(page.placed.ids) for page in recognised),
                    lost=state.epoch != head.epoch,
                    again=repair.again,
                )
            )
        if repair.restored:
            incarnation = strangers_of(recognised) + 1
            telemetry.emit(
                catalogue.RelayRestored(partition=str(partition), incarnation=incarnation)
            )
        return repair.done

    async def _recognise(self, partition: Partition, state: StreamState) -> list[Recognised] | None:
        """Return the outbox rows behind the entries after the head, page by page.

        None if the stream was replaced meanwhile: half of a stream proves nothing.
        """
        recognised: list[Recognised] = []
        marks: Sequence[Landmark] | None = state.behind
        # Without a transaction around the pages: the rows behind them never change.
        while marks:
            recognised.append(await self._store.repairs.recognise(marks))
            if marks[-1].entry >= state.head.entry:
                break
            # Answers None if the stream does not hold the newest entry any more.
            marks = await self._broker.landmarks(partition, state.head, marks[-1].entry)
        return None if marks is None else recognised

    async def _parked(self, partition: Partition) -> Recognised:
        """Return the newest parked event of each held row: the stream may not have it any more."""
        newest: dict[str, int] = {}
        for group in (await self._store.groups()).get(partition.model, ()):
            rows = list(await self._broker.held(partition, group))
            parked = await self._broker.newest_parked(partition, group, rows)
            for row, event in parked.items():
                sequence = numbering(event.letter.fields.get(b"head", b"")).sequence or 0
                newest[row.subject] = max(sequence, newest.get(row.subject, 0))
        parked_rows = {subject: sequence for subject, sequence in newest.items() if sequence}
        return Recognised(Placed([], []), 0, parked_rows)
