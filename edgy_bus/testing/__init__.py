"""The testing kit: servers to test against, and what makes code that uses edgy_bus easy to test.

Nothing here is imported by the rest of the library but the demo, which needs a server as well.
"""
