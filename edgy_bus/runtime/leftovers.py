"""Close what a receiver left open: transactions and connections that no code will end any more.

All receivers of a runner share its task, and a task has one connection to a database. Without this
module, a transaction that a receiver began and never ended would take in the statements of later
calls, and keep its locks.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context

from edgy_bus import telemetry
from edgy_bus.codec import Envelope
from edgy_bus.database import Connection
from edgy_bus.errors import DatabaseError
from edgy_bus.runtime.stepping import complete
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.telemetry import catalogue

_PATIENCE = 10.0
"""Seconds for a rollback; after that, the connection is closed, which rolls back as well."""


async def give_back(
    subscription: Subscription,
    envelope: Envelope,
    connections: Sequence[Connection],
    context: Context,
) -> None:
    """Roll back what a call left open, give the connections back, and report the receiver.

    Args:
        subscription: the receiver.
        envelope: the event, or the first event of a batch.
        connections: the connections that the call left open.
        context: the context of the call.
    """
    for connection in connections:
        transactions = len(connection.open_transactions)
        # Before the rollback, which may be cancelled.
        telemetry.emit(
            catalogue.ReceiverLeftOpen(
                group=subscription.group,
                receiver=subscription.name,
                event=f"{envelope.model}.{envelope.signal}",
                event_id=envelope.id,
                transactions=transactions,
            )
        )
        with suppress(DatabaseError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await complete(connection.close(), context)
