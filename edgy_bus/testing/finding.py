"""Open, for pytest's fixtures, the bus and the databases that the options name."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from edgy_bus.bus import Bus
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError
from edgy_bus.loading import load_bus
from edgy_bus.testing.inline_bus import InlineBus, inline, roll_back
from edgy_bus.wiring import Connections


def bus_of(target: str, folder: Path) -> Bus:
    """Return the bus that `target` names, with the folder of the project on the path.

    Raises:
        ConfigurationError: naming what is wrong; the errors of the application are its cause.
    """
    # pytest puts the folders of tests on the path, and not always the folder of the project.
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return load_bus(target)
    except ConfigurationError:
        raise
    except Exception as error:
        error.add_note(f'pytest imported this for the fixture bus: edgy_bus = "{target}"')
        raise


@asynccontextmanager
async def opened_bus(request: pytest.FixtureRequest) -> AsyncIterator[InlineBus]:
    """Run the bus of the options inside of a test."""
    app: Bus = request.getfixturevalue("edgy_bus_app")
    mode: str = request.getfixturevalue("edgy_bus_chaos")
    async with inline(app, mode=mode, rollback=request.config.getini("edgy_bus_rollback")) as bus:
        yield bus


@asynccontextmanager
async def opened_database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """Connect the databases of the bus, and roll them back at the end."""
    app: Bus = request.getfixturevalue("edgy_bus_app")
    databases = app.databases()
    if not databases:
        raise ConfigurationError(
            "the bus of the option edgy_bus has no database: Registry(database, bus=bus)"
        )
    # In any order with the fixture bus: a plugin decides which of both comes first.
    async with AsyncExitStack() as stack:
        await Connections().open(stack, databases)
        # Unless the fixture bus has begun with that.
        await roll_back(stack, app)
        for source in app.registries:
            await source.database.create_tables(source.metadata)
        yield databases[0]
