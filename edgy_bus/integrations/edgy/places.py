"""Connect a registry of Edgy with the database that the relay reads."""

from edgy_bus.database import Database
from edgy_bus.sources import Value


class RegistryDatabase(Database):
    """The database of a registry, for the relay. Connecting it connects the registry as well.

    So the receivers of a worker can use the models: `edgy-bus worker` starts the bus alone.

    Args:
        url: the URL of the database.
        registry: the registry.
    """

    def __init__(self, url: str, registry: Value) -> None:
        super().__init__(url)
        self._registry = registry

    async def connect(self) -> None:
        """Connect the database, and the registry."""
        # First: Edgy's client for tests creates the database. Registries count: one that the
        # application has connected stays connected.
        await self._registry.__aenter__()
        try:
            await super().connect()
        except BaseException:
            await self._registry.__aexit__()
            raise

    async def disconnect(self) -> None:
        """Disconnect the database, and the registry."""
        try:
            await super().disconnect()
        finally:
            await self._registry.__aexit__()
