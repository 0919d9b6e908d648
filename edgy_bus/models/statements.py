"""The statements of single rows, built once for every table: only their parameters change."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Executable, Table, bindparam, delete, insert, select, update

KEY = "edgy_bus_key"
"""The parameter that holds the primary key of the row to find."""

Step = tuple[Executable, Mapping[str, Any] | None]
"""A statement and its parameters."""


@cache
def insert_row(table: Table) -> Executable:
    return insert(table).returning(*table.c)


@cache
def update_row(table: Table, pk: str) -> Executable:
    return update(table).where(table.c[pk] == bindparam(KEY)).returning(*table.c)


@cache
def delete_row(table: Table, pk: str) -> Executable:
    return delete(table).where(table.c[pk] == bindparam(KEY)).returning(*table.c)


@cache
def select_row(table: Table, pk: str) -> Executable:
    return select(table).where(table.c[pk] == bindparam(KEY))
