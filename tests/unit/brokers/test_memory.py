import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.testing.conformance import BrokerConformance


class TestMemoryBroker(BrokerConformance):
    @pytest.fixture
    def broker(self):
        return MemoryBroker()
