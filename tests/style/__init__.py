"""Checks of the repository's texts: fragments, records, templates. They need no server."""
