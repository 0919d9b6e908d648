"""Describe the changes of rows that foreign ORMs make: what all integrations share."""

from collections.abc import Collection, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from edgy_bus.errors import SignalError
from edgy_bus.signals.signal import Route, Signal
from edgy_bus.sources import Key, RowChange, SourceModel, Values

M_co = TypeVar("M_co", bound=SourceModel, covariant=True)

SAVE, UPDATE, DELETE = "save", "update", "delete"


class KeyedModel(SourceModel, Protocol):
    """The description of a model whose keys may have several columns."""

    def key_of(self, row: Values) -> Key:
        """Return the key of a row: a value, or a text for several columns."""

    def differs(self, name: str, before: Values, after: Values) -> bool:
        """Return whether events of two states of a row have other values of an attribute."""


class Changed(NamedTuple, Generic[M_co]):
    """Changes of rows of a model that the same signal reports."""

    model: M_co
    action: str
    changes: Sequence[RowChange]


def updated(model: KeyedModel, before: Values, row: Values, names: Collection[str]) -> RowChange:
    """Return the change of an updated row.

    Args:
        model: the model of the row.
        before: the row as it was locked.
        row: the row after the change.
        names: the attributes that the statement wrote.
    """
    # Defaults, version counters and triggers of the database write more than the statement says.
    written = [name for name in model.public if name in names or model.differs(name, before, row)]
    return RowChange(model.key_of(row), row, before, written)


def refusing_to_send(models: str, report: str, sender_of_message: str, within: str) -> Route:
    """Return what an application gets that sends a signal of a foreign ORM's model itself.

    Args:
        models: what the signals belong to.
        report: what the signals report.
        sender_of_message: what stands for a message of the application.
        within: in what the row of the message is written.
    """

    async def refuse(signal: Signal, sender: object, _: object, __: Mapping[str, object]) -> None:
        raise SignalError(
            f"{signal.name} of {getattr(sender, '__name__', sender)} cannot be sent by the "
            f"application: the signals of {models} report what {report}. Write a row of "
            f"{sender_of_message} that stands for the message, in the same {within}"
        )

    return refuse
