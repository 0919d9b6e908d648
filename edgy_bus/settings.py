"""Group every tunable number by topic, and check each at construction. Times are in seconds."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from edgy_bus.errors import ConfigurationError


class Settings(BaseModel):
    """Refuse unknown names, wrong values and later changes."""

    # Strict: True is no number here, and text is none either.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def given(cls, settings: Self | None, argument: str) -> Self:
        """Return the settings that a bus was given as `argument`, or the default settings.

        Raises:
            ConfigurationError: for a value of another type.
        """
        if settings is not None and not isinstance(settings, cls):
            raise ConfigurationError(
                f"Bus({argument}=…) is a {type(settings).__name__}: write "
                f"{argument}=edgy_bus.{cls.__name__}(…)"
            )
        return settings or cls()


class EventSettings(Settings):
    """Limit the size of events, and set how the events of a model are spread over streams."""

    partitions: int = Field(
        8, ge=1, le=1024, description="Streams per model. Fixed after the first published event."
    )
    max_bytes: int = Field(
        1_000_000,
        ge=1_000,
        le=100_000_000,
        description="Largest `data` of an event; checked before the commit.",
    )
    pre_bytes: int = Field(
        16_000_000,
        ge=1_000,
        le=100_000_000_000,
        description="Bytes that a stream of `pre_*` events keeps; the oldest are dropped.",
    )


class RelaySettings(Settings):
    """Tune how the relay moves outbox rows to the broker."""

    chunk: int = Field(
        500,
        ge=1,
        le=1_000,
        description="Events per publishing script; fewer for large events. Redis serves nobody "
        "else while a script runs: 2 to 4 ms for 1,000 events.",
    )
    chunk_bytes: int = Field(
        1_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Bytes of a chunk; a larger event is a chunk of its own.",
    )
    page: int = Field(
        10_000, ge=1, le=100_000, description="Outbox rows per page; fewer for large events."
    )
    page_bytes: int = Field(
        8_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Bytes of a page, which bound the memory of a relay; a page has one event at "
        "least.",
    )
    poll: float = Field(
        0.5,
        gt=0,
        le=3_600,
        description="Longest time between two reads of the outbox without a wake-up.",
    )
    lease: float = Field(
        10.0,
        gt=0.1,
        le=3_600,
        description="Time after which another relay takes over from a relay that died.",
    )
    trim_every: float = Field(
        5.0, gt=0, le=3_600, description="Time between two trims of the streams."
    )
    keep: float = Field(
        60.0,
        ge=0,
        le=31_622_400,
        description="How long streams keep events that every group has finished, for new groups.",
    )
    retention: float = Field(
        7 * 86_400.0,
        gt=0,
        le=31_622_400,
        description="How long rows stay in the outbox after publishing.",
    )
    backoff: float = Field(
        5.0, gt=0, le=3_600, description="Longest pause between attempts while the broker is away."
    )


class WorkerSettings(Settings):
    """Tune how a worker reads, calls receivers and holds its partitions."""

    concurrency: int = Field(
        64,
        ge=1,
        le=100_000,
        description="Calls of one receiver that may wait for something at the same time in one "
        "process. A slow receiver takes no slot of another receiver.",
    )
    calls: int = Field(
        512,
        ge=1,
        le=100_000,
        description="Calls of all receivers together that run at the same time in one process; at "
        "least `concurrency`.",
    )
    prefetch: int = Field(
        500,
        ge=1,
        le=10_000,
        description="Jobs of a partition that are read ahead, not counting jobs that cannot run.",
    )
    fetch_bytes: int = Field(
        4_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Bytes of one read of a stream, about; an event that is larger is read alone. "
        "A read that took too long is repeated smaller.",
    )
    in_hand_bytes: int = Field(
        16_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Bytes of events that a process has read and not finished, about. Values that "
        "are decoded for running receivers come on top.",
    )
    waiting_bytes: int = Field(
        32_000_000,
        ge=1_000,
        le=1_000_000_000,
        description="Bytes of events in a process that wait for a retry, for a slot of their "
        "receiver, or for a broker that takes no dead letters. Beyond that, partitions with their "
        "share of these bytes read nothing until some are done.",
    )
    window: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Finished events that each group remembers to recognise repeated deliveries.",
    )
    lease: float = Field(
        4.0,
        gt=0.1,
        le=3_600,
        description="Time after which other workers take over from a worker that died.",
    )
    max_blocked: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="How long a process keeps its partitions while a receiver blocks the event "
        "loop. Under a supervisor (`--processes`), the process ends then.",
    )
    grace: float = Field(
        25.0, ge=0, le=86_400, description="Time for running receivers to finish after SIGTERM."
    )
    deadline: float = Field(
        300.0, gt=0, le=31_622_400, description="Longest duration of one call of a receiver."
    )
    inbox_retention: float | None = Field(
        None,
        gt=0,
        le=316_224_000,
        description="How long an inbox remembers a row: longer than the retention of every outbox "
        "whose events the receivers handle, plus the longest time for which relays stand still. "
        "None: twice RelaySettings(retention=…) of the bus.",
    )
    receiver_retention: float | None = Field(
        None,
        gt=0,
        le=316_224_000,
        description="How long a group waits for a receiver that no program has any more; then the "
        "receiver is forgotten. None: RelaySettings(retention=…) of the bus.",
    )
    letter_retention: float | None = Field(
        180 * 86_400.0,
        gt=0,
        le=316_224_000,
        description="How long dead letters are kept. Older letters are removed for ever when the "
        "next letter comes to the same stream of a group. None: until an operator acts.",
    )
    most_letters: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Dead letters that a group keeps of one stream; beyond that the oldest are "
        "removed for ever. None: any number.",
    )
    block: float = Field(2.0, gt=0, le=3_600, description="Longest blocking read of a stream.")
    backoff: float = Field(
        5.0, gt=0, le=3_600, description="Longest pause between attempts while the broker is away."
    )


def flag(value: bool, argument: str) -> bool:
    """Return the value of a flag of a bus. Raises `ConfigurationError` for another type."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"Bus({argument}={value!r}): write True or False")
    return value
