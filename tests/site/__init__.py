"""Test the site of the documentation; needs the extra `docs`, which `make docs` installs."""
