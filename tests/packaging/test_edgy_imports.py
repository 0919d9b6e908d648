"""A program written for Edgy runs when its imports name `edgy_bus` instead of `edgy`."""

import subprocess
import sys
from pathlib import Path

import pytest

import edgy_bus
import edgy_bus.core.signals
import edgy_bus.signals

DECORATORS = (
    "pre_save",
    "post_save",
    "pre_update",
    "post_update",
    "pre_delete",
    "post_delete",
)

PROGRAM = """
import asyncio

import edgy
from edgy.core.signals import Signal, post_save, pre_save

database = edgy.Database("sqlite:///shop.sqlite")
models = edgy.Registry(database=database)
calls = []


class Order(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    total: int = edgy.IntegerField()

    class Meta:
        registry = models


@pre_save(Order)
async def check_total(sender, instance, **kwargs):
    calls.append(("pre_save", instance.total))


@post_save([Order])
async def print_receipt(sender, instance, **kwargs):
    calls.append(("post_save", instance.total))


@edgy.post_delete(Order)
async def refund(sender, instance, **kwargs):
    calls.append(("post_delete", instance.total))


async def ship(sender, instance, **kwargs):
    calls.append(("on_ship", instance.total))


async def main():
    Order.meta.signals.on_ship = Signal()
    Order.meta.signals.on_ship.connect(ship)
    async with models:
        await models.create_all()
        order = await Order.query.create(total=7)
        await Order.meta.signals.on_ship.send(sender=Order, instance=order)
        order.signals.post_save.disconnect(print_receipt)
        await order.save()
        await order.delete()
    assert calls == [
        ("pre_save", 7),
        ("post_save", 7),
        ("on_ship", 7),
        ("pre_save", 7),
        ("post_delete", 7),
    ], calls


asyncio.run(main())
"""


@pytest.mark.parametrize("name", edgy_bus.signals.__all__)
def test_both_import_paths_give_the_same_object(name: str) -> None:
    assert getattr(edgy_bus.core.signals, name) is getattr(edgy_bus.signals, name)


@pytest.mark.parametrize("name", DECORATORS)
def test_the_package_exports_the_decorators(name: str) -> None:
    assert getattr(edgy_bus, name) is getattr(edgy_bus.signals, name)
    assert name in edgy_bus.__all__


def test_a_program_needs_new_imports_only(tmp_path: Path) -> None:
    program = PROGRAM.replace("import edgy\n", "import edgy_bus as edgy\n")
    program = program.replace("from edgy.", "from edgy_bus.")
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
