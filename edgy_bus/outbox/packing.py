"""Make the bytes of events, as the broker stores them, of rows of the outbox."""

from edgy_bus.codec import HeaderPacker, Wire
from edgy_bus.events import Partition
from edgy_bus.outbox.store import Incarnations, PendingRow
from edgy_bus.signing import Signer


class Packer:
    """Makes wires of the rows of a partition."""

    def __init__(self, partition: Partition, service: str, signer: Signer | None) -> None:
        self._partition = partition
        self._service = service
        self._signer = signer
        self._headers: dict[str | None, HeaderPacker] = {}
        """By the source of a row: services that share a database have rows in one outbox."""

    def wire(self, incarnations: Incarnations, row: PendingRow) -> Wire:
        """Return a row as the broker stores it."""
        (
            number,
            event_id,
            signal,
            subject,
            time,
            traceparent,
            text,
            source,
            to,
            causation,
            context,
        ) = row
        headers = self._headers.get(source) or self._headers_of(source)
        header = headers.pack(
            event_id,
            signal,
            subject=subject,
            time=time,
            sequence=number,
            incarnation=incarnations.of(number),
            traceparent=traceparent,
            to=to,
            causation=causation,
            context=context,
        )
        data = text.encode()
        signature = b""
        if self._signer is not None:
            signature = self._signer.sign(self._partition, event_id.encode(), header, data)
        return Wire(event_id, header, data, signature)

    def _headers_of(self, source: str | None) -> HeaderPacker:
        # Rows of releases that know version 1 of the tables have no source.
        headers = HeaderPacker(source or self._service, self._partition.model)
        self._headers[source] = headers
        return headers
