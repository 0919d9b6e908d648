"""Modules that hold receivers: imported at the start, with clear errors, and never silent."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edgy_bus as edgy
from edgy_bus.errors import ConfigurationError
from tests.support import Told

Write = Callable[[str, str], str]

RECEIVER = """
import edgy_bus as edgy
from {app} import bus

@bus.receiver("accounts.User", "post_save")
async def greet(sender, **kwargs): ...
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Write a module whose name is the test's own, and return that name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, text: str) -> str:
        full = f"{name}_{abs(hash(request.node.nodeid))}"
        (tmp_path / f"{full}.py").write_text(text)
        return full

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def app(write: Write, receivers: str = "") -> str:
    return write(
        "app",
        "import edgy_bus as edgy\n"
        f"bus = edgy.Bus('memory://', service='mail', receivers={receivers or ()!r})",
    )


def bus_of(name: str) -> edgy.Bus:
    __import__(name)
    bus = sys.modules[name].bus
    assert isinstance(bus, edgy.Bus)
    return bus


async def test_the_start_imports_the_modules(write: Write) -> None:
    name = write("receivers", RECEIVER.format(app=app(write)))
    bus = bus_of(app(write, name))
    assert not bus.subscriptions()
    with Told() as told:
        async with bus:
            assert [each.receiver.name for each in bus.subscriptions()] == [f"{name}.greet"]
    assert "receivers.not_connected" not in told.names()


def test_a_worker_imports_the_modules(write: Write) -> None:
    name = write("receivers", RECEIVER.format(app=app(write)))
    bus = bus_of(app(write))
    bus.import_receivers(name)
    bus.worker(["mail"])


async def test_a_module_that_connects_nothing_is_reported_once(write: Write) -> None:
    name = write("receivers", "import edgy_bus\n")
    bus = bus_of(app(write, name))
    with Told() as told:
        for _ in range(2):
            async with bus:
                pass
    assert told.of("receivers.not_connected") == [{"module": name}]


async def test_receivers_of_another_bus_do_not_count(write: Write) -> None:
    other = write("other", "import edgy_bus as edgy\nbus = edgy.Bus('memory://', service='mail')")
    name = write("receivers", RECEIVER.format(app=other))
    with Told() as told:
        async with bus_of(app(write, name)):
            pass
    assert told.names().count("receivers.not_connected") == 1


async def test_a_module_that_was_imported_before_is_not_taken_for_an_idle_one(
    write: Write,
) -> None:
    name = write("receivers", RECEIVER.format(app=app(write)))
    bus = bus_of(app(write, name))
    __import__(name)
    with Told() as told:
        async with bus:
            pass
    assert "receivers.not_connected" not in told.names()


async def test_a_missing_module_is_named(write: Write) -> None:
    bus = bus_of(app(write, "no_such_module"))
    with pytest.raises(ConfigurationError, match="names 'no_such_module', and there is no module"):
        await bus.start()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"),
        ("x = 1\nx.y", "AttributeError: 'int' object has no attribute 'y'"),
        ("from edgy_bus import Signals", "cannot import name 'Signals'"),
    ],
)
async def test_an_error_of_a_module_is_told_with_its_place(
    write: Write, text: str, message: str
) -> None:
    name = write("receivers", text)
    bus = bus_of(app(write, name))
    for _ in range(2):  # a second start does not take a broken module for an imported one
        with pytest.raises(ConfigurationError, match="whose import failed") as caught:
            await bus.start()
    assert f"names {name!r}" in str(caught.value)
    assert message in str(caught.value)
    assert f"(at {name}.py:{len(text.splitlines())} <module>)" in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("receivers", [[3], [""], [".receivers"]])
def test_what_is_no_name_of_a_module_is_refused(receivers: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="write the full name of a module"):
        edgy.Bus(receivers=receivers)


def test_a_misspelt_group_is_answered_with_the_group_that_was_meant(write: Write) -> None:
    name = write("receivers", RECEIVER.format(app=app(write)))
    bus = bus_of(app(write, name))
    with pytest.raises(ConfigurationError, match=r"'mial'; .* \(did you mean 'mail'\?\)"):
        bus.worker(["mial"])
