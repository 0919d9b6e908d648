"""Where one run of the demonstration takes place: told to its processes through the environment."""

import os
from typing import Self

from pydantic import BaseModel, ConfigDict

from edgy_bus.errors import ConfigurationError
from edgy_bus.settings import RelaySettings, WorkerSettings

VARIABLE = "EDGY_BUS_DEMO"


class Place(BaseModel):
    """The broker and the databases of a run."""

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
        """The place that the demonstration chose for this process."""
        text = os.environ.get(VARIABLE)
        if not text:
            raise ConfigurationError(
                "this module is a part of the demonstration: run `edgy-bus demo`"
            )
        return cls.model_validate_json(text)

    def environment(self) -> dict[str, str]:
        return {VARIABLE: self.model_dump_json()}
