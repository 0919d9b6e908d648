"""Check the style of the repository: density, names, words, fragments and records."""
