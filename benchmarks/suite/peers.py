"""Peers from PyPI. Each is a script in an environment of its own with pinned versions."""

import asyncio
import hashlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.place import Place
from benchmarks.suite.processes import ask

FOLDER = Path(__file__).parents[1]
_INSTALLING = 600.0
"""Seconds."""

PEERS = {
    "faststream": ("FastStream", ("publish", "batch", "consume", "consume_batch")),
    "taskiq": ("taskiq-redis", ("publish", "consume")),
    "celery": ("Celery", ("publish", "consume")),
    "arq": ("arq", ("publish", "consume")),
    "dramatiq": ("dramatiq", ("publish", "consume")),
    "streaq": ("streaQ", ("publish", "batch", "consume")),
    "saq": ("SAQ", ("publish", "consume")),
}
_WORDS = {
    "publish": "one by one",
    "batch": "its batch form",
    "consume": "a handler that does nothing, one process",
    "consume_batch": "a handler of batches that does nothing, one process",
}
_FASTER = {"batch": 5, "consume_batch": 5}


class Environment:
    """Install a requirements file into a virtual environment, again when the file changes."""

    def __init__(self, name: str) -> None:
        self._requirements = FOLDER / "peers" / f"{name}.txt"
        self._folder = FOLDER / ".venvs" / name
        self.python = self._folder / "bin" / "python"

    async def prepare(self) -> None:
        """Install the packages. Raises `Unavailable` if pip fails."""
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        wanted = hashlib.sha256(self._requirements.read_bytes()).hexdigest()
        stamp = self._folder / "installed"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.parent.mkdir(exist_ok=True)
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", str(self._folder)],
            [*pip, "-r", str(self._requirements)],
        ):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=_INSTALLING, check=False
                )
            except subprocess.TimeoutExpired:
                raise Unavailable(f"cannot be installed within {_INSTALLING:g} s") from None
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["pip failed without a message"])[-1]
                raise Unavailable(f"cannot be installed: {reason}")
        stamp.write_text(wanted)


class Peer(Contender):
    """Run a peer's script. Every round is a process of its own, with keys of its own."""

    tries = 2

    def __init__(
        self, place: Place, name: str, work: str, arguments: Sequence[str], key: str, label: str
    ) -> None:
        self.key, self.label = key, label
        self._place, self._name, self._work, self._arguments = place, name, work, arguments
        self._environment = Environment(name)
        self.versions: dict[str, str] = {}

    async def setup(self) -> None:
        await self._environment.prepare()

    async def ask(self) -> float:
        """Run the script and return its rate."""
        keys = f"peer-{self._name}-{self._work}"
        command = [
            str(self._environment.python),
            str(FOLDER / "peers" / f"{self._name}_peer.py"),
            self._work,
        ]
        command += [*self._arguments, "--name", self._place.prefix(keys)]
        try:
            answer = await ask(command)
        finally:
            await asyncio.to_thread(self._place.clear, keys)
        self.versions = answer["versions"]
        return float(answer["rate"])

    async def round(self) -> Measured:
        return {"rate": await self.ask()}


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [
        Peer(
            place,
            name,
            work,
            ("--count", str(scale.single * _FASTER.get(work, 1)), "--redis", place.redis.url),
            f"peers.{name}-{work}",
            f"{label}, {_WORDS[work]}",
        )
        for work in ("publish", "batch", "consume", "consume_batch")
        for name, (label, can) in PEERS.items()
        if work in can
    ]
