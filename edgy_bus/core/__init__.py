"""Provide the import path of Edgy's programs: `edgy_bus.core.signals` stands for `edgy.core.signals`.

A program written for Edgy replaces `edgy` with `edgy_bus` in its imports and keeps the rest. The
package holds re-exports only. No other part of `edgy_bus` imports it; an import contract in
pyproject.toml keeps it so.
"""
