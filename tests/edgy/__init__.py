"""Test the integration of Edgy, in an environment of its own: `make test-edgy`.

Edgy needs an older SQLAlchemy than the other tests run with; there, these tests are skipped.
"""
