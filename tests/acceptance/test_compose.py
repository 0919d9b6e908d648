"""Test the compose file: every group handles the commits of the service accounts."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COMPOSE = Path(__file__).parents[2] / "compose.yaml"

SERVERS = ("redis", "postgres", "relay", "notifications", "search")
"""The services that run until they are stopped.

`up --wait` reports a container that has ended as a failure, so accounts is started separately.
"""

BUILD, WORK, CATCH_UP, ASK = 900, 300, 120, 60
"""Seconds for the build, for accounts, for the groups to catch up, and for a single command."""

STATE = """
SELECT json_build_object(
    'created', (SELECT count(*) FROM edgy_bus_outbox WHERE signal = 'post_save'),
    'mails', (SELECT count(*) FROM mails),
    'users', (SELECT json_agg(json_build_array(id, name, email) ORDER BY id) FROM users),
    'entries', (
        SELECT json_agg(json_build_array(user_id, name, email) ORDER BY user_id) FROM search_entries
    )
)
"""


@dataclass(frozen=True)
class Project:
    """Run commands of Docker Compose in a project that only this test uses."""

    name: str

    def compose(self, *arguments: str, timeout: float = ASK) -> str:
        return docker(
            "compose",
            "--file",
            str(COMPOSE),
            "--project-name",
            self.name,
            *arguments,
            timeout=timeout,
        )

    def state(self) -> dict[str, Any]:
        """Read the rows of all services in a single statement."""
        psql = (
            "psql",
            "--username=edgy",
            "--dbname=edgy",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
        )
        state: dict[str, Any] = json.loads(
            self.compose("exec", "-T", "postgres", *psql, "--command", STATE)
        )
        return state


def docker(*arguments: str, timeout: float = ASK) -> str:
    """Run a docker command and return its output; an error contains both output streams."""
    result = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    if result.returncode:
        raise RuntimeError(
            f"docker {' '.join(arguments)} ended with {result.returncode}:\n"
            f"{result.stdout}\n{result.stderr}"
        )
    return result.stdout


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    try:
        docker("compose", "version")
        docker("info")
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as reason:
        pytest.skip(f"no Docker engine with Compose answers: {str(reason).splitlines()[0]}")
    for name in [name for name in os.environ if name.startswith("COMPOSE_")]:
        monkeypatch.delenv(name)
    project = Project(f"edgy-bus-{secrets.token_hex(4)}")
    try:
        yield project
        # pytest shows this output for a failed test.
        sys.stdout.write(project.compose("logs", "--no-color", "--tail", "50"))
    finally:
        project.compose("down", "--volumes", "--remove-orphans", timeout=WORK)


@pytest.mark.docker
@pytest.mark.timeout(BUILD + WORK + CATCH_UP + 2 * WORK)
def test_every_group_handles_what_was_committed(project: Project) -> None:
    project.compose("up", "--build", "--detach", "--wait", *SERVERS, timeout=BUILD)
    project.compose("up", "--detach", "accounts")
    container = project.compose("ps", "--all", "--quiet", "accounts").strip()
    assert docker("wait", container, timeout=WORK).strip() == "0"

    deadline = time.monotonic() + CATCH_UP
    while not _caught_up(state := project.state()) and time.monotonic() < deadline:
        time.sleep(1)
    assert state["created"] > 0
    assert state["mails"] == state["created"]
    assert state["entries"] == state["users"]


def _caught_up(state: dict[str, Any]) -> bool:
    return (
        bool(state["created"])
        and state["mails"] == state["created"]
        and state["entries"] == state["users"]
    )
