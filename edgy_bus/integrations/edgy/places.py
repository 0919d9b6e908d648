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
        await super().connect()
        try:
            # Registries count: one that the application has connected stays connected.
            await self._registry.__aenter__()
        except BaseException:
            await super().disconnect()
            raise

    async def disconnect(self) -> None:
        """Disconnect the registry, and the database."""
        try:
            await self._registry.__aexit__()
        finally:
            await super().disconnect()
