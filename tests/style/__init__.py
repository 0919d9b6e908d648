"""Test the style of the repository: density, names and words."""
