"""Which tables refer to themselves, directly or through tables whose rows the database deletes."""

from typing import Any

import pytest
import sqlalchemy as sa

from edgy_bus.sources.references import refers_to_itself


def tables(**references: dict[str, str | None]) -> dict[str, sa.Table]:
    """Return tables by name, each with a foreign key and its action for each table it refers to."""
    metadata = sa.MetaData()
    return {
        name: sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            *(
                sa.Column(f"{target}_id", sa.ForeignKey(f"{target}.id", ondelete=action))
                for target, action in targets.items()
            ),
        )
        for name, targets in references.items()
    }


CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"a": {}, "b": {"a": "CASCADE"}}, set()),
    ({"a": {"a": "CASCADE"}}, {"a"}),
    ({"a": {"a": "RESTRICT"}}, {"a"}),
    ({"a": {"a": None}}, {"a"}),
    ({"a": {"a": "SET NULL"}, "b": {"a": "CASCADE"}}, {"a"}),
    # A row of `a` takes its rows of `b` along, and these others of `a`.
    ({"a": {"b": "CASCADE"}, "b": {"a": "CASCADE"}}, {"a", "b"}),
    # Rows of `b` refer to rows of `a` that stay, or are only changed.
    ({"a": {"b": "CASCADE"}, "b": {"a": "SET NULL"}}, {"b"}),
    ({"a": {"c": "SET NULL"}, "b": {"a": "CASCADE"}, "c": {"b": "CASCADE"}}, {"a"}),
]


@pytest.mark.parametrize(("references", "expected"), CASES)
def test_a_table_refers_to_itself(references: dict[str, Any], expected: set[str]) -> None:
    made = tables(**references)
    assert {name for name, table in made.items() if refers_to_itself(table)} == expected
