"""The broker in memory passes the conformance suite."""

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.testing.conformance import topics


class TestMemoryBroker(*topics(MemoryBroker.capabilities)):
    @pytest.fixture
    def broker(self):
        return MemoryBroker()
