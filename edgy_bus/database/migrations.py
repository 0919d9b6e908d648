"""What Alembic needs to write our column types down; see docs/migrations.md."""

from typing import Any, Literal

from sqlalchemy import JSON


def render_item(kind: str, item: Any, autogen: Any) -> Literal[False]:
    """For `context.configure(render_item=…)`: adds the imports without which the migration would not run."""
    if kind == "type" and type(item).__module__.startswith("edgy_bus."):
        autogen.imports.add("import edgy_bus.database.types")
    if isinstance(item, JSON):
        autogen.imports.add("from sqlalchemy import Text")  # PostgreSQL's JSONB names it
    return False
