"""Configure a run of the demonstration; its processes read the configuration from a variable."""

import os
from typing import Self

from pydantic import BaseModel, ConfigDict

from edgy_bus.errors import ConfigurationError
from edgy_bus.settings import RelaySettings, WorkerSettings

VARIABLE = "EDGY_BUS_DEMO"


class DemoConfig(BaseModel):
    """Name the broker and the databases of a run.

    Attributes:
        broker: the URL of Redis.
        prefix: the beginning of the run's keys in Redis.
        accounts, notifications, search: a database URL for each service.
        working: shorter times than in production, so that the run shows a takeover quickly.
        relaying: likewise.
    """

    # The URLs can contain passwords: pydantic's errors must not quote them.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    broker: str
    prefix: str
    accounts: str
    notifications: str
    search: str
    working: WorkerSettings = WorkerSettings(lease=2.0, grace=10.0)
    relaying: RelaySettings = RelaySettings(lease=2.0)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the configuration. Raises `ConfigurationError` outside the demonstration."""
        text = os.environ.get(VARIABLE)
        if not text:
            raise ConfigurationError(
                "this module is a part of the demonstration: run `edgy-bus demo`"
            )
        return cls.model_validate_json(text)

    def environment(self) -> dict[str, str]:
        """Return the environment variable for the processes of the run."""
        return {VARIABLE: self.model_dump_json()}
