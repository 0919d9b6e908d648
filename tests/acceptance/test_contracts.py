"""The programs and commands of docs/contracts.md, unchanged but for the URL of Redis."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgy_bus.codec import dumps
from edgy_bus.contracts.differences import _BREAKING, _CARE

PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path, redis_url: str, prefix: str) -> Path:
    for block in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None, "every program of the page begins with its name"
        own = re.sub(r'service="(\w+)"', rf'service="\1", prefix="{prefix}"', block)
        (tmp_path / name[1]).write_text(own.replace("redis://localhost:6379", redis_url))
    return tmp_path


def test_the_commands_and_programs_do_what_the_page_says(folder: Path) -> None:
    commands = [line.split() for block in blocks("sh") for line in block.splitlines()]
    assert [words[2] for words in commands] == ["export", "diff", "classes", "catalogue"]
    for words in commands:
        ended = run(folder, "-m", "edgy_bus", *words[1:])
        assert (ended.returncode, ended.stderr) == (0, "")
    # A consumer without edgy_bus.
    head = {
        **{"specversion": "1.0", "id": "01890a5d-ac96-774b-bcce-b302099a8057", "source": "shop"},
        **{"type": "shop.Order.post_save", "time": "2026-11-28T12:00:00Z", "schemaversion": 1},
    }
    data = {"instance": {"id": 1, "customer": "ada@example.net", "state": "new", "total": 5}}
    entry = f"{dumps(head)!r}, {dumps(data)!r}"
    ended = run(folder, "-c", f"import consumer; consumer.handle({entry})")
    assert (ended.stdout, ended.stderr) == ("order 1: 5\n", "")
    lifted = (
        "from billing import Order; print(Order.model_validate({'id': 1, 'total': 5}).currency)"
    )
    assert run(folder, "-c", lifted).stdout == "EUR\n"


def test_a_renamed_field_is_reported_as_the_page_says(folder: Path) -> None:
    export, diff = (line.split()[1:] for line in blocks("sh")[0].splitlines())
    assert run(folder, "-m", "edgy_bus", *export).returncode == 0
    program = folder / "shop.py"
    program.write_text(program.read_text().replace("total", "sum"))
    ended = run(folder, "-m", "edgy_bus", *diff)
    assert (ended.returncode, ended.stdout) == (1, blocks("console")[0])


def test_the_page_explains_every_kind_of_change() -> None:
    codes = {code for code, _ in (*_BREAKING.values(), *_CARE.values())}
    assert codes <= set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", PAGE))
