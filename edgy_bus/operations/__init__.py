"""Views and actions of operators: each a typed value, made here and shown elsewhere.

A view is a frozen value that an async function reads from a broker alone, or from `Parts`: a broker
and the publishers' outboxes. An action takes the same, and returns a frozen value that contains its
effect; the broker's log of actions gets an entry. No operation starts a hook, a relay or another
background loop, and no view writes. The command line shows these values; nothing here prints or
parses.
"""

from edgy_bus.operations.actions import Actions, RecordedAction, actions, operator_name
from edgy_bus.operations.backfills import (
    Backfilled,
    Order,
    Plan,
    backfill,
    plan_backfill,
)
from edgy_bus.operations.catalogue import (
    Catalogue,
    CataloguedModel,
    Subscriber,
    catalogue,
    catalogue_of,
)
from edgy_bus.operations.configuration import (
    Configuration,
    Setting,
    installed_versions,
    settings_of,
)
from edgy_bus.operations.dead_letters import (
    Discarded,
    Replayed,
    count_dead,
    dead_letter,
    discard_dead,
    export_dead,
    list_dead,
    replay_dead,
)
from edgy_bus.operations.diagnosis import Diagnosis, Finding, Severity, doctor
from edgy_bus.operations.edits import (
    Edit,
    Editable,
    Edited,
    FieldEdit,
    RowReader,
    checked_edit,
    data_from,
    edit_dead,
    editable,
    row_reader,
    with_fields,
)
from edgy_bus.operations.failures import Dead, Failure, dead
from edgy_bus.operations.flows import Flow, Rates
from edgy_bus.operations.groups import Forgotten, forget, group_names, require_group
from edgy_bus.operations.held_rows import Held, HeldRow, Released, held, release
from edgy_bus.operations.histories import Step, VersionChange, WorkHistory, history, history_of_all
from edgy_bus.operations.journeys import (
    EventSummary,
    EventTrace,
    GroupJourney,
    GroupStage,
    Journey,
    OutboxPlace,
    ParkedEvent,
    ReceiverState,
    RowTrace,
    Stage,
    StreamPlace,
)
from edgy_bus.operations.letters import Letter, Selection, ShownLetter, selection_of_ids
from edgy_bus.operations.overview import (
    AsideStatus,
    GroupStatus,
    OutboxStatus,
    Since,
    Status,
    StreamGroup,
    StreamStatus,
    status,
    streams,
)
from edgy_bus.operations.ownership import Ownership, PartitionStatus, WorkerStatus, ownership
from edgy_bus.operations.paced import Advance, Limits
from edgy_bus.operations.parts import Parts, Publisher
from edgy_bus.operations.pauses import Paused, Resumed, pause, resume
from edgy_bus.operations.receivers import (
    ReceiverStatus,
    all_receivers,
    forget_receiver,
    receivers,
    rename_receiver,
)
from edgy_bus.operations.relays import RelayStatus, relays
from edgy_bus.operations.replays import (
    EventsReplayed,
    ModelReplay,
    ReplayOrder,
    ReplayPlan,
    plan_replay,
    replay,
)
from edgy_bus.operations.tailing import Following, Tail
from edgy_bus.operations.top import State, Top, TopGroup, TopReceiver, TopView
from edgy_bus.operations.tracing import trace_event, trace_row
from edgy_bus.operations.trimming import TrimmingObstacle, trimming_obstacles
from edgy_bus.operations.unfinished import (
    LongAction,
    LongActions,
    Unfinished,
    long_actions,
    unfinished_backfills,
    unfinished_replays,
)
from edgy_bus.operations.waiting import Waiting

__all__ = [
    "Actions",
    "Advance",
    "AsideStatus",
    "Backfilled",
    "Catalogue",
    "CataloguedModel",
    "Configuration",
    "Dead",
    "Diagnosis",
    "Discarded",
    "Edit",
    "Editable",
    "Edited",
    "EventSummary",
    "EventTrace",
    "EventsReplayed",
    "Failure",
    "FieldEdit",
    "Finding",
    "Flow",
    "Following",
    "Forgotten",
    "GroupJourney",
    "GroupStage",
    "GroupStatus",
    "Held",
    "HeldRow",
    "Journey",
    "Letter",
    "Limits",
    "LongAction",
    "LongActions",
    "ModelReplay",
    "Order",
    "OutboxPlace",
    "OutboxStatus",
    "Ownership",
    "ParkedEvent",
    "PartitionStatus",
    "Parts",
    "Paused",
    "Plan",
    "Publisher",
    "Rates",
    "ReceiverState",
    "ReceiverStatus",
    "RecordedAction",
    "RelayStatus",
    "Released",
    "ReplayOrder",
    "ReplayPlan",
    "Replayed",
    "Resumed",
    "RowReader",
    "RowTrace",
    "Selection",
    "Setting",
    "Severity",
    "ShownLetter",
    "Since",
    "Stage",
    "State",
    "Status",
    "Step",
    "StreamGroup",
    "StreamPlace",
    "StreamStatus",
    "Subscriber",
    "Tail",
    "Top",
    "TopGroup",
    "TopReceiver",
    "TopView",
    "TrimmingObstacle",
    "Unfinished",
    "VersionChange",
    "Waiting",
    "WorkHistory",
    "WorkerStatus",
    "actions",
    "all_receivers",
    "backfill",
    "catalogue",
    "catalogue_of",
    "checked_edit",
    "count_dead",
    "data_from",
    "dead",
    "dead_letter",
    "discard_dead",
    "doctor",
    "edit_dead",
    "editable",
    "export_dead",
    "forget",
    "forget_receiver",
    "group_names",
    "held",
    "history",
    "history_of_all",
    "installed_versions",
    "list_dead",
    "long_actions",
    "operator_name",
    "ownership",
    "pause",
    "plan_backfill",
    "plan_replay",
    "receivers",
    "relays",
    "release",
    "rename_receiver",
    "replay",
    "replay_dead",
    "require_group",
    "resume",
    "row_reader",
    "selection_of_ids",
    "settings_of",
    "status",
    "streams",
    "trace_event",
    "trace_row",
    "trimming_obstacles",
    "unfinished_backfills",
    "unfinished_replays",
    "with_fields",
]
