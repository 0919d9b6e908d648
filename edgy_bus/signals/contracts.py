"""Read rows by the schema of a receiver, or by the class of a model."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from edgy_bus.errors import ContractError
from edgy_bus.reasons import misfit

S = TypeVar("S", bound=BaseModel)
R = TypeVar("R")
T = TypeVar("T")

Row = Mapping[str, Any]


def read_by(schema: type[S], row: Row) -> S:
    """Return an instance of a schema, made from the JSON form of a row.

    Raises:
        ContractError: as `fitted`.
    """
    return fitted(schema.model_validate, row, schema.__name__)


def fitted(read: Callable[[R], T], row: R, name: str, what: str = "the row") -> T:
    """Return `read(row)`.

    Args:
        read: may run validators of the application.
        row: a row in the JSON form, or a part of one.
        name: the schema or the model that the row has to fit.
        what: stands for the row in an error.

    Raises:
        ContractError: for any error of `read`; names the fields that do not fit, without values.
    """
    try:
        return read(row)
    except ContractError:
        raise
    except Exception as error:  # noqa: BLE001 - pydantic passes most errors of a validator on
        # Without the cause, whose text contains values of the row.
        raise ContractError(f"{what} does not fit {name}: {misfit(error)}") from None
