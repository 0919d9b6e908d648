"""Contracts of services: their events and receivers, as documents for people and programs.

`contract` reads the models and receivers of a service. Everything else is a pure function: of a
contract to a document (`documents`, `page`), of a document to its contents (`reading`), of two
documents to their differences (`differences`), of a document to Python classes (`classes`).
"""

from edgy_bus.contracts.contract import (
    Contract,
    ModelContract,
    ReceiverContract,
    model_contracts,
    receiver_contracts,
)
from edgy_bus.contracts.differences import Change, Difference, Effect, compare
from edgy_bus.contracts.documents import Document, asyncapi, json_schema
from edgy_bus.contracts.reading import Reading, parse, read

__all__ = [
    "Change",
    "Contract",
    "Difference",
    "Document",
    "Effect",
    "ModelContract",
    "Reading",
    "ReceiverContract",
    "asyncapi",
    "compare",
    "json_schema",
    "model_contracts",
    "parse",
    "read",
    "receiver_contracts",
]
