"""The tables that a statement changes, by its text."""

import pytest

from edgy_bus.integrations.sqlalchemy.gate import changed_tables, replaces_rows


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("INSERT INTO users (id) VALUES (?)", {"users"}),
        ("insert or replace into users values (1)", {"users"}),
        ('UPDATE ONLY "Users" SET id = 1', {"users"}),
        ('UPDATE shop."users" SET id = 1', {"users"}),
        ("DELETE\n  FROM shop . users", {"users"}),
        ("WITH c AS (DELETE FROM users RETURNING id) INSERT INTO logs SELECT id FROM c",
         {"users", "logs"}),
        ("MERGE INTO users USING x ON true WHEN MATCHED THEN DELETE", {"users"}),
        ("TRUNCATE TABLE users", {"users"}),
        ("TRUNCATE logs, ONLY shop.users", {"logs", "users"}),
        ("UPDATE /* all */ users SET id = 1", {"users"}),
        ("DELETE FROM -- all\n users", {"users"}),
        ("INSERT INTO logs VALUES ('--'); DELETE FROM users", {"logs", "users"}),
        ("UPDATE [users] SET id = 1", {"users"}),
        ("UPDATE `main`.`users` SET id = 1", {"users"}),
        ("UPDATE'users'SET id = 1", {"users"}),
        ("UPDATE db.shop.users SET id = 1", {"users"}),
        ("COPY users (id) FROM STDIN", {"users"}),
        ("COPY users TO STDOUT", set()),
        ("SELECT * FROM users FOR UPDATE", set()),
        ("SELECT * FROM users FOR UPDATE OF users", {"of"}),
        ("SELECT * FROM users FOR NO KEY UPDATE", set()),
        ("INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1", {"a", "set"}),
    ],
)  # fmt: skip
def test_the_text_names_the_tables(statement: str, tables: set[str]) -> None:
    assert changed_tables(statement) == tables


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1",
        "INSERT OR REPLACE INTO users VALUES (1)",
        "REPLACE INTO users VALUES (1)",
    ],
)
def test_an_insert_that_changes_rows_is_known(statement: str) -> None:
    assert replaces_rows(statement)
    assert not replaces_rows("INSERT INTO users VALUES (1) ON CONFLICT DO NOTHING")
