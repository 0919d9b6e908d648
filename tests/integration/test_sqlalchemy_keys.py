"""Keys of every type: rows are locked, read back, published and selected by them."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import edgy_bus as edgy
from edgy_bus.integrations.sqlalchemy import publish
from tests.integration.alchemy import Shop, async_sessionmaker, engine_of
from tests.integration.test_sqlalchemy_property import replayed


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Named(sa.TypeDecorator[str]):
    """UUIDs that the application has as texts of its own."""

    impl = sa.Uuid
    cache_ok = True

    def process_bind_param(self, value: str | None, _: Any) -> Any:
        return None if value is None else uuid.UUID(value.removeprefix("id-"))

    def process_result_value(self, value: Any, _: Any) -> str | None:
        return None if value is None else f"id-{value}"


KEYS: dict[str, tuple[Any, Any, Any]] = {
    "decorator": (Named, f"id-{uuid.UUID(int=1)}", f"id-{uuid.UUID(int=2)}"),
    "enum": (sa.Enum(Color), Color.RED, Color.BLUE),
    "char": (sa.CHAR(3), "abc", "x'y"),
    "datetime": (sa.DateTime, dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2)),
    "date": (sa.Date, dt.date(2026, 1, 1), dt.date(2026, 1, 2)),
    "decimal": (sa.Numeric(8, 2), Decimal("1.50"), Decimal("2.50")),
    "integer": (sa.BigInteger, -(2**40), 2**41),
    "bytes": (sa.LargeBinary, b"a", b"\x00"),
    "uuid": (sa.Uuid, uuid.UUID(int=1), uuid.UUID(int=2)),
    "text of a uuid": (sa.Uuid(as_uuid=False), str(uuid.UUID(int=1)), str(uuid.UUID(int=2))),
}


@pytest.mark.parametrize("kind", KEYS)
async def test_a_key_of_any_type_finds_its_row(database_url: str, kind: str) -> None:
    column_type, first, second = KEYS[kind]

    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "rows_by_key"
        id: Mapped[Any] = mapped_column(column_type, primary_key=True)
        value: Mapped[int] = mapped_column(default=1)

    engine = engine_of(database_url)
    sessions = async_sessionmaker(engine)
    bus = edgy.Bus("memory://", service="shop", relay=False, publish=["post_*"])
    source = publish(sessions, Base, bus, database=database_url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with bus, sessions() as session:
        session.add_all([Row(id=first), Row(id=second)])
        await session.flush()
        for row in await session.scalars(sa.select(Row)):
            row.value += 1
        await session.execute(sa.update(Row).where(Row.id == first).values(value=9))
        await session.execute(sa.update(Row), [{"id": second, "value": 4}])
        await session.execute(sa.delete(Row).where(Row.id == second))
        await session.execute(sa.insert(Row), [{"id": second, "value": 4}])
        await session.commit()

        model: Any = source.model(Row)
        selection = model.selection({})
        [last] = (await source.database.run(selection.last())).rows
        page = selection.page(None, selection.place_of(last), 10)
        rows = (await source.database.run(page)).rows
        chosen = model.conditions({"pk__in": [str(model.key_of(row)) for row in rows]})
        locked = await source.database.run(sa.select(model.table).where(*chosen))
        assert len(rows) == len(locked.rows) == 2

        for row in (await session.scalars(sa.select(Row))).all():
            await session.delete(row)
        await session.commit()
    events = await Shop(bus, source, sessions, engine).events()
    assert replayed(events) == {}
    assert [signal for _, signal, _, _ in events].count("post_delete") == 3
    await engine.dispose()
