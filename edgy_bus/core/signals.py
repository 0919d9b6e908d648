"""Re-export everything public of `edgy_bus.signals` under Edgy's import path.

The objects are the same: `edgy_bus.core.signals.post_save is edgy_bus.signals.post_save`.
"""

from edgy_bus.signals import *  # noqa: F403 - the names are those of `edgy_bus.signals.__all__`
