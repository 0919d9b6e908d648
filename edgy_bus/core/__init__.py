"""Provide the import path of Edgy's programs.

`edgy_bus.core.signals` stands for `edgy.core.signals`: a program written for Edgy replaces `edgy`
with `edgy_bus` in import lines and stays the same otherwise. The package holds re-exports only.
A contract in pyproject.toml forbids imports of this package from every other part of `edgy_bus`.
"""
