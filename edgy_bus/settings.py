"""Every number that may be tuned, grouped by topic, checked once when it is made. Times are in seconds."""

from pydantic import BaseModel, ConfigDict, Field

FOLLOW_STDIN = "EDGY_BUS_FOLLOW_STDIN"
"""Environment variable: the program stops when its standard input ends, as it does when whoever started it has died."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EventSettings(Settings):
    """What an event may be and how a model's events are spread."""

    partitions: int = Field(
        8, ge=1, le=1024, description="Streams per model. Fixed once events were published."
    )
    max_bytes: int = Field(
        1_000_000, ge=1_000, description="Largest `data` of an event; checked before the commit."
    )


class RelaySettings(Settings):
    """How the relay moves outbox rows to the broker."""

    chunk: int = Field(
        500, ge=1, le=5_000, description="Events per publishing script; fewer where they are large."
    )
    page: int = Field(
        10_000, ge=1, description="Outbox rows read at a time; fewer where they are large."
    )
    poll: float = Field(
        0.5, gt=0, description="Longest time between two looks where nothing rings the bell."
    )
    lease: float = Field(
        10.0, gt=0.1, description="How long a relay that died keeps the others waiting."
    )
    trim_every: float = Field(5.0, gt=0, description="Time between two trims of the streams.")
    keep: float = Field(
        60.0,
        ge=0,
        description="How long streams keep what every group has finished, for groups that start a little later.",
    )
    retention: float = Field(
        7 * 86_400.0, gt=0, description="How long rows stay in the outbox after publishing."
    )
    backoff: float = Field(
        5.0, gt=0, description="Longest pause between attempts while the broker is away."
    )


class WorkerSettings(Settings):
    """How a worker reads, runs receivers and holds its partitions."""

    concurrency: int = Field(
        64, ge=1, description="Receivers that run at the same time in one process."
    )
    prefetch: int = Field(500, ge=1, description="Jobs of one partition in hand at the same time.")
    window: int = Field(
        10_000, ge=1, description="Finished events that each group remembers, to know repeats by."
    )
    lease: float = Field(
        4.0, gt=0.1, description="How long the partitions of a worker that died stay orphaned."
    )
    grace: float = Field(
        25.0, ge=0, description="How long running receivers may finish after SIGTERM."
    )
    deadline: float = Field(300.0, gt=0, description="How long one call of a receiver may take.")
    block: float = Field(2.0, gt=0, description="How long one wait for news may block.")
    backoff: float = Field(
        5.0, gt=0, description="Longest pause between attempts while the broker is away."
    )
