"""Run every file of docs/testing.md as the page says, with each plugin that runs coroutines."""

import re
from pathlib import Path

import pytest

from tests.integration.testing.support import ANYIO, run_pytest

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
FILES = {
    match[1].partition(":")[0]: match[2]
    for match in re.finditer(
        r"^```\w+\n# ([^\n]*)\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
}
TESTS = sorted(name for name in FILES if name.startswith("test_"))

pytest_plugins = ["pytester"]


def test_every_block_of_code_is_a_file() -> None:
    assert len(FILES) == PAGE.read_text("utf-8").count("```") // 2
    assert len(TESTS) >= 8


@pytest.mark.parametrize("plugin", ["asyncio", "anyio"])
def test_the_page_is_right(pytester: pytest.Pytester, plugin: str) -> None:
    options = FILES["pyproject.toml"]
    names = TESTS
    if plugin == "anyio":
        options = options.replace('asyncio_mode = "auto"', "")
        pytester.makeconftest(ANYIO)
        names = [name for name in TESTS if "pytest_asyncio" not in FILES[name]]
        assert len(names) == len(TESTS) - 1
    (pytester.path / "pyproject.toml").write_text(options)
    for name in ("app.py", *names):
        mark = f"import pytest\npytestmark = pytest.mark.{plugin}\n"
        (pytester.path / name).write_text((mark if plugin == "anyio" else "") + FILES[name])
    result = run_pytest(pytester, "-p", plugin)
    # The receiver that is not idempotent fails, and nothing else does.
    failed = [line for line in result.outlines if line.startswith("FAILED")]
    assert len(failed) == 4
    assert all("test_careless.py::test_a_change_is_confirmed_once[" in line for line in failed)
    outcomes = result.parseoutcomes()
    assert outcomes == {"failed": 4, "passed": outcomes["passed"]}
    assert outcomes["passed"] >= len(names)
