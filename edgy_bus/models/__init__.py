"""Models and queries: the source of events that this package brings along."""

from edgy_bus.models.expressions import F
from edgy_bus.models.fields import (
    CASCADE,
    RESTRICT,
    SET_NULL,
    BigIntegerField,
    BinaryField,
    BooleanField,
    CharField,
    ChoiceField,
    DateField,
    DateTimeField,
    DecimalField,
    DurationField,
    EmailField,
    FloatField,
    ForeignKey,
    IntegerField,
    JSONField,
    TextField,
    TimeField,
    UUIDField,
)
from edgy_bus.models.model import Model
from edgy_bus.models.queryset import QuerySet
from edgy_bus.models.registry import Registry

__all__ = [
    "CASCADE",
    "RESTRICT",
    "SET_NULL",
    "BigIntegerField",
    "BinaryField",
    "BooleanField",
    "CharField",
    "ChoiceField",
    "DateField",
    "DateTimeField",
    "DecimalField",
    "DurationField",
    "EmailField",
    "F",
    "FloatField",
    "ForeignKey",
    "IntegerField",
    "JSONField",
    "Model",
    "QuerySet",
    "Registry",
    "TextField",
    "TimeField",
    "UUIDField",
]
