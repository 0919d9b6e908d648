"""The consuming process of the chain by hand: `chain.py REDIS STREAM FILE`.

Writes the key of each received row and the time of receipt into FILE when the process ends.
"""

import asyncio
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import redis.asyncio
import uvloop


async def main(url: str, stream: str, file: str) -> None:
    client: Any = redis.asyncio.Redis.from_url(url, protocol=2, socket_timeout=None)
    acknowledging: Any = redis.asyncio.Redis.from_url(url, protocol=2)
    received: list[tuple[int, int]] = []

    async def read() -> None:
        while True:
            reply = await client.xreadgroup("g", "consumer", {stream: ">"}, count=100, block=2_000)
            for _, entries in reply:
                for _, fields in entries:
                    orjson.loads(fields[b"data"])
                    received.append((int(fields[b"row"]), time.monotonic_ns()))
                await acknowledging.xack(stream, "g", *(entry for entry, _ in entries))

    reading = asyncio.create_task(read())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, reading.cancel)
    with suppress(asyncio.CancelledError):
        await reading
    lines = "".join(f"{row} {moment}\n" for row, moment in received)
    await asyncio.to_thread(Path(file).write_text, lines)
    await client.aclose()
    await acknowledging.aclose()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
