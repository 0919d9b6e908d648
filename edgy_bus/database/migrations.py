"""Help Alembic to write edgy_bus's column types into migrations; see docs/migrations.md."""

from typing import Any, Literal, Protocol, cast

from sqlalchemy import JSON

from edgy_bus.database.types import Converted


class _Autogeneration(Protocol):
    """Describe the part of Alembic's `AutogenContext` that is used here."""

    imports: set[str]


def render_item(kind: str, item: object, autogen: _Autogeneration) -> str | Literal[False]:
    """Add the imports that a migration needs; pass it as `context.configure(render_item=…)`.

    Args:
        kind: the kind of the item, for example "type".
        item: the object that Alembic is about to write down.
        autogen: Alembic's context, which collects the imports of the migration.

    Returns:
        False, so that Alembic renders the item itself; the text of a type whose conversion to
        Python does not concern the database.
    """
    if isinstance(item, Converted):
        # Only Alembic calls this function, so Alembic is installed.
        from alembic.autogenerate.render import _repr_type  # noqa: PLC0415

        return str(_repr_type(item.stored, cast(Any, autogen)))
    if kind == "type" and type(item).__module__.startswith("edgy_bus."):
        autogen.imports.add("import edgy_bus.database.types")
    if isinstance(item, JSON):
        # Alembic renders the JSONB variant as `JSONB(astext_type=Text())`, without this import.
        autogen.imports.add("from sqlalchemy import Text")
    return False
