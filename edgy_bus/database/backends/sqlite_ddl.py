"""Tables on SQLite whose rows can be deleted as on PostgreSQL."""

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.dialects.sqlite.base import SQLiteDDLCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite


class _DDLCompiler(SQLiteDDLCompiler):
    """Render RESTRICT as NO ACTION, SQLite's default."""

    # PostgreSQL looks for referring rows at the end of a statement, which may have deleted them as
    # well. SQLite does so for NO ACTION. With RESTRICT it looks at every deleted row at once: rows
    # that refer to each other could not be deleted together.

    def define_constraint_cascades(self, constraint: ForeignKeyConstraint) -> str:
        text = super().define_constraint_cascades(constraint)
        return text.replace(" ON DELETE RESTRICT", "")


class SQLiteDialect(SQLiteDialect_pysqlite):
    """Compile statements and tables for SQLite."""

    ddl_compiler = _DDLCompiler
    supports_statement_cache = True
