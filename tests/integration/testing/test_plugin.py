"""Check the fixtures in every mode of their plugins, and what they say about mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.testing.support import ANYIO, ROOT, run_pytest

pytest_plugins = ["pytester"]

APP = """
import edgy_bus as edgy
from edgy_bus.signals import post_save

database = edgy.Database("sqlite:///app.sqlite")
bus = edgy.Bus("memory://", service="accounts")
registry = edgy.Registry(database, bus=bus)
local = edgy.Bus()

class User(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=100)

    class Meta:
        registry = registry

@post_save(User)
async def hear(sender, instance, **kwargs): ...
"""

TEST = """
import asyncio
import pytest
from app_of_kit import User, hear

@pytest.fixture(params=[1, 2])
def number(request):
    return request.param

{mark}
async def test_a_bus(bus, number):
    assert await User.query.count() == 0
    await User.query.create(name="Ada")
    await asyncio.create_task(User.query.create(name="Bob"))
    await bus.drain()
    assert len(bus.handled(hear)) == 2

{mark}
async def test_a_database(edgy_bus_database, number):
    assert await User.query.count() == 0
    await User.query.create(name="Ada")

{mark}
async def test_both(edgy_bus_database, bus, number):
    await User.query.create(name="Ada")
    assert await edgy_bus_database.fetch_val("SELECT count(*) FROM users") == 1
"""


@pytest.fixture(autouse=True)
def _app(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(app_of_kit=APP)


def options(pytester: pytest.Pytester, *lines: str, bus: str = "app_of_kit:bus") -> None:
    named = f'edgy_bus = "{bus}"' if bus else ""
    pytester.makepyprojecttoml("\n".join(["[tool.pytest.ini_options]", named, *lines]))


@pytest.mark.parametrize(
    ("plugin", "line", "mark"),
    [
        ("asyncio", 'asyncio_mode = "strict"', "@pytest.mark.asyncio"),
        ("asyncio", 'asyncio_mode = "auto"', ""),
        ("anyio", "", "@pytest.mark.anyio"),
        ("both", 'asyncio_mode = "strict"', "@pytest.mark.anyio"),
    ],
)
def test_the_fixtures_work_where_coroutines_run(
    pytester: pytest.Pytester, plugin: str, line: str, mark: str
) -> None:
    options(pytester, line)
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n")
    pytester.makepyfile(TEST.format(mark=mark))
    plugins = ["asyncio", "anyio"] if plugin == "both" else [plugin]
    chosen = [option for name in plugins for option in ("-p", name)]
    # pytest-asyncio cannot run inside of itself.
    run_pytest(pytester, *chosen, here=plugin == "anyio").assert_outcomes(passed=6)


def test_rows_stay_without_a_rollback(pytester: pytest.Pytester) -> None:
    options(pytester, "edgy_bus_rollback = false")
    pytester.makeconftest(ANYIO)
    pytester.makepyfile(
        """
        import pytest
        from app_of_kit import User, hear

        pytestmark = pytest.mark.anyio

        async def test_a(bus):
            await User.query.create(name="Ada")
            await bus.relay()

        async def test_b(bus):
            assert await User.query.count() == 1
            await bus.drain()
            assert bus.handled(hear) == []
            await User.query.create(name="Bob")
            await bus.drain()
            assert len(bus.handled(hear)) == 1
        """
    )
    run_pytest(pytester, "-p", "anyio", here=True).assert_outcomes(passed=2)


ASYNC = "@pytest.mark.anyio\nasync def test_it(bus): ..."


@pytest.mark.parametrize(
    ("bus", "test", "lines"),
    [
        (
            "",
            ASYNC,
            ['*write edgy_bus = "app:bus"*below *tool.pytest.ini_options* in *pyproject.toml*'],
        ),
        (
            "app_of_kit:buss",
            ASYNC,
            ["*edgy_bus = 'app_of_kit:buss' in *pyproject.toml: *it has the bus app_of_kit:bus*"],
        ),
        ("no_such_app:bus", ASYNC, ["*there is no module 'no_such_app'*"]),
        (
            "broken_app:bus",
            ASYNC,
            ["*ZeroDivisionError*", "*pytest imported this for the fixture bus*"],
        ),
        ("app_of_kit:local", ASYNC, ["*this bus is in local mode*give it a broker*"]),
        (
            "app_of_kit:bus",
            "@pytest.mark.edgy_bus_chaos\nasync def test_it(): ...",
            ["*has the mark edgy_bus_chaos, and does not use the fixture bus*"],
        ),
        (
            "app_of_kit:bus",
            "@pytest.mark.edgy_bus_chaos('twise')\nasync def test_it(bus): ...",
            ["*edgy_bus_chaos has no mode 'twise': did you mean 'twice'*"],
        ),
    ],
)
def test_a_mistake_is_told_with_its_remedy(
    pytester: pytest.Pytester, bus: str, test: str, lines: list[str]
) -> None:
    options(pytester, bus=bus)
    pytester.makeconftest(ANYIO)
    pytester.makepyfile(broken_app="1 / 0", test_it=f"import pytest\n{test}")
    result = run_pytest(pytester, "-p", "anyio", here=True)
    assert result.parseoutcomes().keys() & {"error", "errors", "failed"}
    result.stdout.fnmatch_lines(lines)


def test_a_test_that_nobody_runs_is_told_what_to_install(pytester: pytest.Pytester) -> None:
    options(pytester)
    pytester.makepyfile("def test_it(bus): ...")
    result = run_pytest(pytester, here=True)
    result.stdout.fnmatch_lines(["*pip install pytest-asyncio, or mark the test with anyio*"])


def test_where_no_redis_is_a_test_is_skipped_with_the_reason(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    options(pytester)
    pytester.makeconftest(
        "from edgy_bus.errors import ServerNotFound\n"
        "from edgy_bus.testing import redis\n"
        "def nothing(order): raise ServerNotFound('looked in localhost and the PATH')\n"
        "redis.find_redis = nothing\n"
    )
    pytester.makepyfile("def test_it(edgy_bus_redis): ...")
    result = run_pytest(pytester, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*looked in localhost and the PATH*"])


def test_keys_of_a_test_are_deleted(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("EDGY_BUS_REDIS_URL", redis_url)
    options(pytester)
    pytester.makepyfile(
        """
        import redis
        seen = []

        def test_a(edgy_bus_redis):
            with redis.Redis.from_url(edgy_bus_redis.url) as client:
                client.set(f"{edgy_bus_redis.prefix}:{{x}}:a", 1)
            seen.append(edgy_bus_redis.prefix)

        def test_b(edgy_bus_redis):
            with redis.Redis.from_url(edgy_bus_redis.url) as client:
                assert list(client.scan_iter(f"{seen[0]}*")) == []
            assert edgy_bus_redis.prefix != seen[0]
        """
    )
    run_pytest(pytester, here=True).assert_outcomes(passed=2)


def test_an_unused_plugin_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): ...\n")
    code = (
        "import sys, pytest\n"
        "status = pytest.main(['-q', '-p', 'edgy_bus.testing.plugin', '-p', 'asyncio'])\n"
        "print(*sys.modules)\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(done.stdout.splitlines()[-1].split())
    assert "edgy_bus.testing.plugin" in modules
    heavy = {
        "edgy_bus.api",
        "edgy_bus.bus",
        "edgy_bus.database",
        "databases",
        "sqlalchemy",
        "redis",
    }
    assert not modules & heavy
