"""Show a contract as a page of HTML that needs no other file. Every value is escaped."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgy_bus.contracts.classes import plain_type
from edgy_bus.contracts.reading import Reading, properties_of
from edgy_bus.operations import Catalogue
from edgy_bus.sources import Schema


def page(reading: Reading, catalogue: Catalogue | None = None) -> str:
    """Return the page of a contract.

    Args:
        reading: the contract.
        catalogue: who subscribes at a broker; None leaves this part out.
    """
    templates = Environment(
        loader=PackageLoader("edgy_bus.contracts"),
        # For every name: a template whose name ends otherwise would escape nothing.
        autoescape=True,
        # A misspelt name fails in the tests, and does not leave a gap.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("contract.html").render(
        title=reading.title,
        models=[
            {
                "name": name,
                "signals": signals,
                "description": reading.definitions[name].get("description", ""),
                "fields": _fields(reading, reading.definitions[name]),
            }
            for name, signals in reading.models().items()
        ],
        channels=reading.channels or {},
        receivers=sorted(each.split(" ", 1) for each in reading.receivers),
        # Fields refer to these types by name.
        types={
            name: _fields(reading, schema)
            for name, schema in reading.definitions.items()
            if ".type." in name
        },
        catalogue=catalogue,
    )


def _fields(reading: Reading, schema: Schema) -> list[Mapping[str, Any]]:
    return [
        {
            "name": name,
            "type": plain_type(reading, part),
            "description": part.get("description", ""),
            "deprecated": part.get("deprecated", False),
        }
        for name, part in properties_of(schema).items()
    ]
