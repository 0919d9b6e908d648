"""Checks of the package as its users install it: versions, files, import paths."""
