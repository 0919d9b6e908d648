"""Measure the speed of edgy_bus beside peers and the same work by hand: `make bench`."""
