"""Views and actions of operators: each a typed value, made here and shown elsewhere.

A view is a frozen value that an async function reads from a broker alone, or from `Parts`: a broker
and the publishers' outboxes. An action takes the same, and returns a frozen value that contains its
effect. No operation starts a hook, a relay or another background loop, and no view writes. The
command line shows these values; nothing here prints or parses.
"""

from edgy_bus.operations.groups import Forgotten, forget, group_names
from edgy_bus.operations.held_rows import Held, HeldRow, Released, held, release
from edgy_bus.operations.parts import Parts

__all__ = [
    "Forgotten",
    "Held",
    "HeldRow",
    "Parts",
    "Released",
    "forget",
    "group_names",
    "held",
    "release",
]
