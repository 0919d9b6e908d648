"""Models, queries and the seam that a recorder extends operations through."""

from edgy_bus.models.fields import (
    BigIntegerField,
    BooleanField,
    CharField,
    DateField,
    DateTimeField,
    DecimalField,
    EmailField,
    FloatField,
    IntegerField,
    JSONField,
    TextField,
    UUIDField,
)
from edgy_bus.models.model import Model
from edgy_bus.models.operations import Change, Plan, Recorder, run_plan
from edgy_bus.models.queryset import QuerySet
from edgy_bus.models.registry import Registry

__all__ = [
    "BigIntegerField",
    "BooleanField",
    "Change",
    "CharField",
    "DateField",
    "DateTimeField",
    "DecimalField",
    "EmailField",
    "FloatField",
    "IntegerField",
    "JSONField",
    "Model",
    "Plan",
    "QuerySet",
    "Recorder",
    "Registry",
    "TextField",
    "UUIDField",
    "run_plan",
]
