"""What a broker must do, by role. Imports nothing concrete.

`Broker` joins the roles. Outbox and runtime rely on two guarantees, which every broker must keep:

- publishing: `publish` appends only while the stream stands where the publisher expects.
  `inspect` returns where the stream stands. Safety needs no lease.
- consuming: `arrange`, `fetch`, `settle`, `note`, `bury` and `park` check the lease in the same
  atomic step in which they act.
"""

from edgy_bus.brokers.base.action_log import ACTIONS, ActionEntry, ActionLog
from edgy_bus.brokers.base.administration import Administration
from edgy_bus.brokers.base.broker import Broker
from edgy_bus.brokers.base.capabilities import Capabilities
from edgy_bus.brokers.base.consuming import ANY_SIZE, NOBODY, OVERSHOOT, Bell, Consuming
from edgy_bus.brokers.base.dead_letters import LETTER_BYTES, LETTERS, REMOVED, DeadLetters
from edgy_bus.brokers.base.leasing import Leasing, lease_lost, rolled_back
from edgy_bus.brokers.base.publishing import PAGE, Publishing
from edgy_bus.brokers.base.relays import ListedRelay, RelayCard, RelayList
from edgy_bus.brokers.base.rostering import Enlisted, Listed, Roster, Rostering, Start
from edgy_bus.brokers.base.setting_aside import Arrangement, Aside, SettingAside
from edgy_bus.brokers.base.side_streams import SideStreams
from edgy_bus.brokers.base.surveying import (
    SEARCH,
    SEARCH_BYTES,
    BrokerFacts,
    EntrySurvey,
    GroupAtEntry,
    GroupSurvey,
    SearchPage,
    StreamSurvey,
    Surveying,
)
from edgy_bus.brokers.base.tallying import MINUTES, VERSIONS, History, Tally, Tallying
from edgy_bus.brokers.base.values import (
    EVERY_LETTER,
    START,
    Backlog,
    Buried,
    Confirmed,
    DeadLetter,
    Entry,
    EntryId,
    Fetched,
    HeldState,
    Kept,
    Landmark,
    Lease,
    LetterLimits,
    LetterPage,
    Members,
    Parked,
    Pause,
    Presence,
    Protocol,
    RowKey,
    StreamHead,
    StreamState,
    Trip,
)

__all__ = [
    "ACTIONS",
    "ANY_SIZE",
    "EVERY_LETTER",
    "LETTERS",
    "LETTER_BYTES",
    "MINUTES",
    "NOBODY",
    "OVERSHOOT",
    "PAGE",
    "REMOVED",
    "SEARCH",
    "SEARCH_BYTES",
    "START",
    "VERSIONS",
    "ActionEntry",
    "ActionLog",
    "Administration",
    "Arrangement",
    "Aside",
    "Backlog",
    "Bell",
    "Broker",
    "BrokerFacts",
    "Buried",
    "Capabilities",
    "Confirmed",
    "Consuming",
    "DeadLetter",
    "DeadLetters",
    "Enlisted",
    "Entry",
    "EntryId",
    "EntrySurvey",
    "Fetched",
    "GroupAtEntry",
    "GroupSurvey",
    "HeldState",
    "History",
    "Kept",
    "Landmark",
    "Lease",
    "Leasing",
    "LetterLimits",
    "LetterPage",
    "Listed",
    "ListedRelay",
    "Members",
    "Parked",
    "Pause",
    "Presence",
    "Protocol",
    "Publishing",
    "RelayCard",
    "RelayList",
    "Roster",
    "Rostering",
    "RowKey",
    "SearchPage",
    "SettingAside",
    "SideStreams",
    "Start",
    "StreamHead",
    "StreamState",
    "StreamSurvey",
    "Surveying",
    "Tally",
    "Tallying",
    "Trip",
    "lease_lost",
    "rolled_back",
]
