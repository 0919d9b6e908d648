"""What programs ask of Redis while nothing happens."""

import subprocess
import sys
import time
from contextlib import ExitStack

import redis

from benchmarks.ordinary.goal import Figure
from benchmarks.ordinary.program import APP, environment, program
from benchmarks.suite.place import Place
from edgy_bus.testing.servers import Source, find_redis

_SETTLE, _WATCHED = 130.0, 60.0
"""Seconds until reads of streams at rest are as rare as they become, and of the count."""


def resting(place: Place) -> list[Figure]:
    """Measure calls of a worker with few and with many streams, and of standby relays."""
    few = _calls(place, "few", ["worker"])
    many = _calls(place, "many", ["worker"], GOALS_MODELS="10", GOALS_GROUPS="6")
    relays = _calls(place, "relays", ["relay"] * 6)
    return [
        Figure("calls of a worker at rest, 1 model and 1 group (8 streams)", few, 6, "/s"),
        Figure("the same, 10 models and 6 groups (480 readers): more", many - few, 1, "/s"),
        Figure("calls of 6 relays at rest", relays, 12, "/s"),
    ]


def _calls(place: Place, name: str, commands: list[str], **more: str) -> float:
    """Return calls of a second at a server that nobody else uses."""
    with ExitStack() as stack:
        server = stack.enter_context(find_redis((Source.PATH, Source.WHEEL)))
        where = {**environment(place, name, **more), "GOALS_REDIS": server.url}
        fill = [sys.executable, "-m", APP]
        subprocess.run(fill, env=where, cwd=place.folder, check=True, timeout=60)
        for command in commands:
            words = (command, f"{APP}:bus")
            stack.enter_context(program(*words, environment=where, folder=place.folder))
        client = stack.enter_context(redis.Redis.from_url(server.url))
        time.sleep(_SETTLE)
        before = _processed(client)
        time.sleep(_WATCHED)
        # Less the two questions of this function.
        return (_processed(client) - before - 1) / _WATCHED


def _processed(client: "redis.Redis") -> int:
    # Commands that are sent together are read together.
    return int(client.info("stats")["total_reads_processed"])
