"""The conformance suite: the tests that every broker must pass, a file for each topic.

A test module builds the suite from the capabilities that the broker declares:

    class TestMyBroker(*topics(MyBroker.capabilities)):
        @pytest.fixture
        async def broker(self): ...  # yields a connected, empty broker

A broker that is durable or shared between processes also needs a fixture `connect`: an async
function that returns one more connected broker on the same data. A bounded broker needs a fixture
`fill`: an async function that makes the broker full (True), or gives it room again (False).
"""

from edgy_bus.brokers.base import Capabilities
from edgy_bus.testing.conformance.action_log import ActionLogTopic
from edgy_bus.testing.conformance.administration import AdministrationTopic
from edgy_bus.testing.conformance.bells import BellTopic
from edgy_bus.testing.conformance.consuming import ConsumingTopic
from edgy_bus.testing.conformance.dead_letters import DeadLetterTopic, ReplayTopic
from edgy_bus.testing.conformance.durability import DurabilityTopic
from edgy_bus.testing.conformance.fullness import FullTopic
from edgy_bus.testing.conformance.held_rows import HeldRowTopic
from edgy_bus.testing.conformance.inheriting import InheritingTopic
from edgy_bus.testing.conformance.leasing import LeasingTopic
from edgy_bus.testing.conformance.letter_limits import LetterLimitTopic
from edgy_bus.testing.conformance.loops import LoopTopic
from edgy_bus.testing.conformance.losses import LossTopic
from edgy_bus.testing.conformance.parking import ParkingTopic
from edgy_bus.testing.conformance.publishing import PublishingTopic
from edgy_bus.testing.conformance.relays import RelayTopic
from edgy_bus.testing.conformance.rosters import RosterTopic
from edgy_bus.testing.conformance.setting_aside import SettingAsideAgainTopic, SettingAsideTopic
from edgy_bus.testing.conformance.sharing import SharingTopic
from edgy_bus.testing.conformance.sizes import SizeTopic
from edgy_bus.testing.conformance.surveying import SurveyTopic
from edgy_bus.testing.conformance.tallying import TallyingTopic
from edgy_bus.testing.conformance.trimming import TrimmingTopic

__all__ = ["topics"]

_EVERY_BROKER: tuple[type, ...] = (
    PublishingTopic,
    TrimmingTopic,
    LeasingTopic,
    ConsumingTopic,
    InheritingTopic,
    SizeTopic,
    BellTopic,
    DeadLetterTopic,
    ReplayTopic,
    LetterLimitTopic,
    SurveyTopic,
    ParkingTopic,
    HeldRowTopic,
    LossTopic,
    AdministrationTopic,
    RosterTopic,
    SettingAsideTopic,
    SettingAsideAgainTopic,
    ActionLogTopic,
    RelayTopic,
    TallyingTopic,
)


def topics(capabilities: Capabilities) -> tuple[type, ...]:
    """Return the topics that a broker with these capabilities must pass, as base classes."""
    durability = (DurabilityTopic,) if capabilities.durable else ()
    sharing = (SharingTopic,) if capabilities.shared_between_processes else ()
    loops = (LoopTopic,) if capabilities.serves_many_loops else ()
    fullness = (FullTopic,) if capabilities.bounded else ()
    return (*_EVERY_BROKER, *durability, *sharing, *loops, *fullness)
