"""Run the programs of the README unchanged, except for the URL of Redis and the key prefix."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.programs import program

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path, redis_url: str, prefix: str) -> Path:
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None, "every program of the README begins with its name"
        own, count = re.subn(r'service="(\w+)"', rf'service="\1", prefix="{prefix}"', block)
        assert count == 1
        (tmp_path / name[1]).write_text(own.replace("redis://localhost:6379", redis_url))
    return tmp_path


async def test_the_example_does_what_it_says(folder: Path) -> None:
    with (
        program("worker", "app:bus", folder=folder) as worker,
        program("worker", "mail:bus", "--processes", "2", folder=folder) as mail,
    ):
        service = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "app.py"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (service.returncode, service.stderr) == (0, "")
        await asyncio.to_thread(worker.wait_for_output, "welcome, ada@example.org")
        await asyncio.to_thread(mail.wait_for_output, "accounts.User.post_save 1 ada@example.org")
