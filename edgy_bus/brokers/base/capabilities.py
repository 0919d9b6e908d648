"""The optional promises of a broker, declared as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Declare which optional promises a broker keeps.

    The conformance suite (`edgy_bus.testing.conformance`) tests every promise that is declared.
    """

    durable: bool
    """Streams, groups, dead letters and held rows outlive every process that uses the broker."""

    shared_between_processes: bool
    """Processes that connect to the same address see the same streams, leases and members."""

    serves_many_loops: bool
    """Event loops of several threads may use the broker at the same time. Each has connections of
    its own, and `close` closes those of the loop that calls it."""

    bounded: bool
    """The memory of the broker can be limited; a broker that is full refuses what grows."""
