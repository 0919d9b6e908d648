"""The plugin of pytest: fixtures for an application's bus, its databases and a Redis; chaos.

pytest imports this module in every project that has the library installed. So the module imports
pytest alone, and everything else when a fixture is used.
"""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from edgy_bus.bus import Bus
    from edgy_bus.database import Database
    from edgy_bus.testing.inline_bus import InlineBus
    from edgy_bus.testing.redis import RedisOfTest
    from edgy_bus.testing.servers import Server

CHAOS = "edgy_bus_chaos"
"""The mark of tests that run under chaos, and the fixture with the mode of a test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the plugin."""
    parser.addini("edgy_bus", 'the bus that tests use, as MODULE:ATTRIBUTE ("app:bus")')
    parser.addini(
        "edgy_bus_rollback",
        "whether the fixture bus rolls back what a test wrote (true)",
        type="bool",
        default=True,
    )
    parser.addini(
        "edgy_bus_redis",
        'where edgy_bus_redis finds a server: "any" (the environment, localhost, a binary), or '
        '"container" (testcontainers)',
        default="any",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and register the fixtures that are coroutines."""
    config.addinivalue_line(
        "markers",
        f"{CHAOS}(*modes): run the test again with every event delivered twice, late, after a "
        "crash half-way, and in other batches (fixture bus)",
    )
    # Two sets of the same fixtures: each plugin for coroutines runs its own kind.
    if any(map(config.pluginmanager.hasplugin, ("asyncio", "pytest_asyncio.plugin"))):
        from edgy_bus.testing import asyncio_fixtures

        config.pluginmanager.register(asyncio_fixtures, "edgy_bus_asyncio_fixtures")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with the mark of chaos once in each mode."""
    mark = metafunc.definition.get_closest_marker(CHAOS)
    if mark is None:
        return
    from edgy_bus.errors import ConfigurationError
    from edgy_bus.testing.chaos import MODES, check_modes

    if CHAOS not in metafunc.fixturenames:
        pytest.fail(
            f"{metafunc.definition.nodeid} has the mark {CHAOS}, and does not use the fixture bus, "
            "which delivers the events: take bus as an argument, and drain it",
            pytrace=False,
        )
    try:
        modes = check_modes(mark.args) or MODES
    except ConfigurationError as error:
        pytest.fail(f"{metafunc.definition.nodeid}: {error}", pytrace=False)
    metafunc.parametrize(CHAOS, modes, indirect=True)


@pytest.fixture
def edgy_bus_chaos(request: pytest.FixtureRequest) -> str:
    """Return the mode of chaos of a test: "calm" without the mark."""
    # A fixture of its own, so that the mode is a part of the test's name, and can be chosen by -k.
    mode: str = getattr(request, "param", "calm")
    return mode


@pytest.fixture(scope="session")
def edgy_bus_app(pytestconfig: pytest.Config) -> "Bus":
    """Return the application's bus, which the option `edgy_bus` names."""
    target = pytestconfig.getini("edgy_bus")
    # The file that has the options, or the file where most projects have them.
    where = pytestconfig.inipath or pytestconfig.rootpath / "pyproject.toml"
    if not target:
        pytest.fail(
            'the fixture needs to know the bus of the application: write edgy_bus = "app:bus" '
            f"(MODULE:ATTRIBUTE) below [tool.pytest.ini_options] in {where}",
            pytrace=False,
        )
    from edgy_bus.errors import ConfigurationError
    from edgy_bus.testing.finding import bus_of

    try:
        return bus_of(target, pytestconfig.rootpath)
    except ConfigurationError as error:
        pytest.fail(f"edgy_bus = {target!r} in {where}: {error}", pytrace=False)


@pytest.fixture
def bus(
    request: pytest.FixtureRequest,
    edgy_bus_chaos: str,  # noqa: ARG001 - pytest repeats the tests that ask for it, in each mode
) -> "InlineBus":
    """Return the application's bus, in memory, driven by the test: `await bus.drain()`.

    Its databases are connected, have their tables, and are rolled back when the test ends.
    """
    return cast("InlineBus", _awaited(request, "bus"))


@pytest.fixture
def edgy_bus_database(request: pytest.FixtureRequest) -> "Database":
    """Return the first database of the bus, connected, rolled back when the test ends."""
    return cast("Database", _awaited(request, "database"))


@pytest.fixture(scope="session")
def _edgy_bus_redis_server(pytestconfig: pytest.Config) -> "Iterator[Server]":
    from edgy_bus.errors import ServerNotFound
    from edgy_bus.testing.redis import SOURCES, found

    where = pytestconfig.getini("edgy_bus_redis")
    if where not in SOURCES:
        pytest.fail(f"edgy_bus_redis = {where!r}: write one of {', '.join(SOURCES)}", pytrace=False)
    # Once for all tests: a search that finds nothing takes seconds.
    try:
        server = found(where)
    except ServerNotFound as error:
        # Documented: the tests of an application run on a laptop without a Redis, too.
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture
def edgy_bus_redis(_edgy_bus_redis_server: "Server") -> "Iterator[RedisOfTest]":
    """Return the URL of a Redis, and a prefix of the test's own; skip where no Redis is."""
    from edgy_bus.testing.redis import cleaned

    with cleaned(_edgy_bus_redis_server) as redis:
        yield redis


# The fixtures that are coroutines, for tests that anyio runs. `asyncio_fixtures` has the others.


@pytest.fixture
async def _edgy_bus_anyio_bus(request: pytest.FixtureRequest) -> "AsyncIterator[InlineBus]":
    from edgy_bus.testing.finding import opened_bus

    async with opened_bus(request) as opened:
        yield opened


@pytest.fixture
async def _edgy_bus_anyio_database(request: pytest.FixtureRequest) -> "AsyncIterator[Database]":
    from edgy_bus.testing.finding import opened_database

    async with opened_database(request) as opened:
        yield opened


def _awaited(request: pytest.FixtureRequest, name: str) -> object:
    """Return the value of a fixture that is a coroutine, run by the plugin that runs the test."""
    # First, because an error from here has no traceback through the plugins.
    request.getfixturevalue("edgy_bus_app")
    node = request.node
    if node.get_closest_marker("anyio") is not None or "anyio_backend" in request.fixturenames:
        runner = "anyio"
    elif request.config.pluginmanager.hasplugin("edgy_bus_asyncio_fixtures"):
        runner = "asyncio"
    else:
        pytest.fail(
            "the fixtures of edgy_bus are for tests that are coroutines, and no plugin of pytest "
            "runs this one: pip install pytest-asyncio, or mark the test with anyio",
            pytrace=False,
        )
    return request.getfixturevalue(f"_edgy_bus_{runner}_{name}")
