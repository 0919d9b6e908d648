"""Members, backlogs and the removal of data on Redis."""

from edgy_bus.brokers.base import Administration, Backlog, Members, Protocol
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import milliseconds
from edgy_bus.brokers.redis.scripts import pairs
from edgy_bus.events import Partition

_ERASE_TIMEOUT = 60.0


class RedisAdministration(RedisCore, Administration):
    """Count workers and entries, and delete keys."""

    async def keep_protocol(self, protocol: Protocol) -> Protocol:
        answer = await self._scripts.call("protocol", (self.keys.protocol(),), protocol)
        return Protocol(int(answer[b"version"]), int(answer[b"oldest"]))

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        return await self._members(group, worker, milliseconds(ttl), report)

    async def leave(self, group: str, worker: str) -> None:
        await self._members(group, worker, 0, b"")

    async def members(self, group: str) -> Members:
        return await self._members(group, "", 0, b"")

    async def _members(self, group: str, worker: str, ttl: int, report: bytes) -> Members:
        keys = (self.keys.seen(group), self.keys.reports(group))
        answer = await self._scripts.call("join", keys, (worker, ttl, report))
        reports = pairs(answer[b"reports"])
        return Members(
            [name.decode() for name in answer[b"alive"]],
            {name.decode(): text for name, text in reports.items()},
        )

    async def backlog(self, partition: Partition) -> list[Backlog]:
        key = self.keys.events(partition)
        backlogs = []
        async with self._conversations.turn():
            # XINFO GROUPS of a missing stream is an error.
            if not await self._client.exists(key):
                return []
            for row in await self._client.xinfo_groups(key):
                name = row["name"].decode()
                dead = await self._client.xlen(self.keys.dead(partition, name))
                lag = row.get("lag")
                if lag is None:
                    # Servers before 7.0 count no lag, and newer servers not after every trimming.
                    position = row["last-delivered-id"].decode()
                    lag = len(await self._client.xrange(key, min=f"({position}"))
                backlogs.append(Backlog(name, int(row["pending"]), lag, int(dead)))
        return backlogs

    async def forget(self, partition: Partition, group: str) -> None:
        async with self._conversations.turn():
            if await self._client.exists(self.keys.events(partition)):
                await self._client.xgroup_destroy(self.keys.events(partition), group)
            # The notes are about entries that a new group reads anew. Dead letters, held rows and
            # the fence stay: tokens must rise when the group comes back.
            await self._client.unlink(self.keys.notes(partition, group))

    async def erase(self) -> None:
        # SCAN, because KEYS would block the server for all its users.
        async with self._conversations.turn(_ERASE_TIMEOUT):
            async for key in self._client.scan_iter(match=f"{self.keys.prefix}:*", count=1000):
                await self._client.unlink(key)
