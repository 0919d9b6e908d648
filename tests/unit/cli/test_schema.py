"""`edgy-bus schema`: documents, differences, classes and the catalogue, with their statuses."""

import sys
from pathlib import Path
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus import operations
from edgy_bus.cli import schema
from edgy_bus.codec import loads
from tests.unit.cli.support import run_words
from tests.unit.contracts.shop import Shop

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def program(bus: edgy.Bus, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module `program`, whose bus is that of the shop; a start would be noticed."""
    module = sys.modules["program"]
    monkeypatch.setattr(module, "bus", Shop(sqlite_url).bus)
    return module


@pytest.fixture
def file(program: Any, capsys: Capture, tmp_path: Path) -> Path:
    path = tmp_path / "shop.json"
    status, output, _ = run_words(capsys, "schema", "export", "program:bus", "-o", str(path))
    assert (status, output) == (0, "")
    return path


def test_a_document_is_written_to_a_file_or_to_the_output(file: Path, capsys: Capture) -> None:
    status, output, _ = run_words(capsys, "schema", "export", "program:bus")
    assert (status, output) == (0, file.read_text("utf-8"))
    assert loads(output)["asyncapi"] == "3.1.0"
    output = run_words(capsys, "schema", "export", "program:bus", "-f", "json-schema")[1]
    assert "oneOf" in loads(output)


def test_a_page_shows_the_subscribers_if_asked(program: Any, capsys: Capture) -> None:
    words = ("schema", "export", "program:bus", "--format", "html")
    assert "Who publishes" not in run_words(capsys, *words)[1]
    status, output, _ = run_words(capsys, *words, "--live")
    assert status == 0
    assert "Who publishes" in output
    status, _, errors = run_words(capsys, "schema", "export", "program:bus", "--live")
    assert (status, "--format html" in errors) == (2, True)


def test_a_page_without_its_package_names_the_extra(
    program: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "edgy_bus.contracts.page", raising=False)
    status, _, errors = run_words(capsys, "schema", "export", "program:bus", "-f", "html")
    assert status == 2
    assert "pip install 'edgy_bus[dashboard]'" in errors


def test_equal_contracts_are_fine_and_a_breaking_change_is_a_finding(
    file: Path, capsys: Capture
) -> None:
    status, output, _ = run_words(capsys, "schema", "diff", str(file), "program:bus")
    assert (status, output) == (0, "nothing has changed\n")
    old = file.with_name("old.json")
    old.write_text(file.read_text("utf-8").replace('"email"', '"mail"'), "utf-8")
    status, output, _ = run_words(capsys, "schema", "diff", str(old), "program:bus", "--json")
    assert status == 1
    answer = loads(output)
    [change] = answer["data"]["changes"]
    assert (answer["command"], answer["exit"]) == ("schema diff", 1)
    assert (change["code"], change["effect"]) == ("field-renamed", "breaking")
    _, output, _ = run_words(capsys, "schema", "diff", str(old), "program:bus")
    assert output.startswith("breaking field-renamed: shop.Customer.mail is gone; email is new")


def test_care_is_a_finding_if_asked(file: Path, capsys: Capture) -> None:
    old = file.with_name("old.json")
    text = file.read_text("utf-8")
    assert '"paid"' in text
    old.write_text(text.replace('"paid"', '"paid",\n"sent"'), "utf-8")
    words = ("schema", "diff", str(old), str(file))
    status, output, _ = run_words(capsys, *words)
    assert status == 0
    assert output.startswith("care values-removed: shop.Order.state")
    assert run_words(capsys, *words, "--fail-on", "care")[0] == 1
    assert run_words(capsys, *words, "--fail-on", "anything")[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("diff", "gone.json", "program:bus"), "neither a file nor MODULE:BUS"),
        (("diff", "{other}", "program:bus"), "is no contract"),
        (("classes", "{other}"), "is no contract"),
        (("export", "program:bus", "--output", "{folder}"), "cannot be written"),
        (("export", "program:bus", "--format", "yaml"), "asyncapi, json-schema or html"),
        (("export", "program:bus", "--import", "no_such_module"), "no_such_module"),
    ],
)
def test_mistakes_have_the_status_of_mistakes(
    program: Any, capsys: Capture, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}", "utf-8")
    places = {"other": other, "folder": tmp_path}
    status, _, errors = run_words(capsys, "schema", *(word.format(**places) for word in words))
    assert status == 2
    assert message in " ".join(errors.split())


def test_local_mode_has_no_contract(
    program: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "bus", edgy.Bus(service="shop"))
    status, _, errors = run_words(capsys, "schema", "export", "program:bus")
    assert status == 2
    assert "local mode" in errors


def test_an_address_is_never_written(
    program: Any, capsys: Capture, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = Shop(sqlite_url, "redis://ada:hush@example.net").bus
    monkeypatch.setattr(program, "bus", bus)
    for form in ("asyncapi", "json-schema", "html"):
        output = run_words(capsys, "schema", "export", "program:bus", "-f", form)[1]
        assert "shop.Order" in output
        assert not any(part in output for part in ("hush", "ada:", "example.net"))


def test_classes_are_made_of_a_file_or_a_bus(file: Path, capsys: Capture) -> None:
    status, output, _ = run_words(capsys, "schema", "classes", str(file))
    assert status == 0
    assert "class OrderPostSave(Event):" in output
    assert run_words(capsys, "schema", "classes", "program:bus")[1] == output


def test_the_catalogue_reports_models_that_nobody_publishes(
    program: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output, _ = run_words(capsys, "schema", "catalogue", "program:bus")
    assert (status, "no relay has declared" in output) == (0, True)
    subscriber = operations.Subscriber("post_save", "mail", "send", 1)
    models = (
        operations.CataloguedModel("lost.Model", "lost", None, (subscriber,)),
        operations.CataloguedModel("shop.Order", "shop", 8, ()),
    )
    view = operations.Catalogue(models)
    monkeypatch.setattr(schema, "_catalogue", lambda place: view)
    status, output, _ = run_words(capsys, "schema", "catalogue", "program:bus")
    assert status == 1
    lines = [line.split() for line in output.splitlines()]
    assert lines[1] == ["lost.Model", "nobody", "post_save", "mail/send", "1"]
    assert lines[2] == ["shop.Order", "shop", "nobody"]
