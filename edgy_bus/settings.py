"""Group every tunable number by topic, and check each at construction. Times are in seconds."""

from pydantic import BaseModel, ConfigDict, Field

FOLLOW_STDIN = "EDGY_BUS_FOLLOW_STDIN"
"""Environment variable: the program stops when its standard input ends.

The input ends when the parent process has died, no matter how, SIGKILL included.
"""


class Settings(BaseModel):
    """Refuse unknown names, wrong values and later changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EventSettings(Settings):
    """Limit the size of events, and set how the events of a model are spread over streams."""

    partitions: int = Field(
        8, ge=1, le=1024, description="Streams per model. Fixed after the first published event."
    )
    max_bytes: int = Field(
        1_000_000, ge=1_000, description="Largest `data` of an event; checked before the commit."
    )


class RelaySettings(Settings):
    """Tune how the relay moves outbox rows to the broker."""

    chunk: int = Field(
        500, ge=1, le=5_000, description="Events per publishing script; fewer for large events."
    )
    page: int = Field(10_000, ge=1, description="Outbox rows per page; fewer for large events.")
    poll: float = Field(
        0.5, gt=0, description="Longest time between two reads of the outbox without a wake-up."
    )
    lease: float = Field(
        10.0,
        gt=0.1,
        description="Time after which another relay takes over from a relay that died.",
    )
    trim_every: float = Field(5.0, gt=0, description="Time between two trims of the streams.")
    keep: float = Field(
        60.0,
        ge=0,
        description="How long streams keep events that every group has finished, for new groups.",
    )
    retention: float = Field(
        7 * 86_400.0, gt=0, description="How long rows stay in the outbox after publishing."
    )
    backoff: float = Field(
        5.0, gt=0, description="Longest pause between attempts while the broker is away."
    )


class WorkerSettings(Settings):
    """Tune how a worker reads, calls receivers and holds its partitions."""

    concurrency: int = Field(
        64, ge=1, description="Calls of receivers that run at the same time in one process."
    )
    prefetch: int = Field(500, ge=1, description="Jobs of a partition in hand at the same time.")
    window: int = Field(
        10_000,
        ge=1,
        description="Finished events that each group remembers to recognise repeated deliveries.",
    )
    lease: float = Field(
        4.0,
        gt=0.1,
        description="Time after which other workers take over from a worker that died.",
    )
    grace: float = Field(
        25.0, ge=0, description="Time for running receivers to finish after SIGTERM."
    )
    deadline: float = Field(300.0, gt=0, description="Longest duration of one call of a receiver.")
    block: float = Field(2.0, gt=0, description="Longest blocking read of a stream.")
    backoff: float = Field(
        5.0, gt=0, description="Longest pause between attempts while the broker is away."
    )
