"""The broker: all roles together."""

from abc import abstractmethod
from typing import ClassVar

from edgy_bus.brokers.base.action_log import ActionLog
from edgy_bus.brokers.base.administration import Administration
from edgy_bus.brokers.base.capabilities import Capabilities
from edgy_bus.brokers.base.consuming import Consuming
from edgy_bus.brokers.base.dead_letters import DeadLetters
from edgy_bus.brokers.base.leasing import Leasing
from edgy_bus.brokers.base.publishing import Publishing
from edgy_bus.brokers.base.relays import RelayList
from edgy_bus.brokers.base.rostering import Rostering
from edgy_bus.brokers.base.setting_aside import SettingAside
from edgy_bus.brokers.base.side_streams import SideStreams
from edgy_bus.brokers.base.surveying import Surveying
from edgy_bus.brokers.base.tallying import Tallying


class Broker(
    Publishing,
    Leasing,
    Consuming,
    SideStreams,
    DeadLetters,
    Surveying,
    Administration,
    Rostering,
    SettingAside,
    ActionLog,
    RelayList,
    Tallying,
):
    """Store streams of events for publishers and groups of consumers.

    Every method is one atomic step. Every method may raise `BrokerUnavailable`; afterwards the
    caller does not know whether the step happened. After `BrokerNotReady`, the step did not happen
    and may be repeated as it was. Code that needs a single role should take that
    role as its parameter type.
    """

    capabilities: ClassVar[Capabilities]

    @abstractmethod
    async def connect(self) -> None:
        """Check that the broker answers and is fit for use.

        Raises `BrokerUnavailable`, or `BrokerError` if no later attempt can succeed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connections of the broker."""
