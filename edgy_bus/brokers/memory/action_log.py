"""The log of actions in memory."""

from collections.abc import Sequence

from edgy_bus.brokers.base import ACTIONS, ActionEntry, ActionLog
from edgy_bus.brokers.memory.core import MemoryCore


class MemoryActionLog(MemoryCore, ActionLog):
    """Keep the latest actions in a bounded queue."""

    async def record(self, entry: ActionEntry) -> None:
        # The queue drops its oldest action itself.
        self._actions.append((self._clock(), entry))

    async def actions(self, count: int = ACTIONS) -> Sequence[tuple[float, ActionEntry]]:
        return list(self._actions)[-count:]
