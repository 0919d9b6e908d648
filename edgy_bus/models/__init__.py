"""Models, queries and the seam that a recorder extends operations through."""

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
from edgy_bus.models.operations import Change, Plan, Recorder, run_plan, with_old_rows
from edgy_bus.models.queryset import QuerySet
from edgy_bus.models.registry import Registry

__all__ = [
    "CASCADE",
    "RESTRICT",
    "SET_NULL",
    "BigIntegerField",
    "BinaryField",
    "BooleanField",
    "Change",
    "CharField",
    "ChoiceField",
    "DateField",
    "DateTimeField",
    "DecimalField",
    "EmailField",
    "FloatField",
    "ForeignKey",
    "IntegerField",
    "JSONField",
    "Model",
    "Plan",
    "QuerySet",
    "Recorder",
    "Registry",
    "TextField",
    "TimeField",
    "UUIDField",
    "run_plan",
    "with_old_rows",
]
