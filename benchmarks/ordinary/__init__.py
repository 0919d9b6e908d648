"""Measure what users meet in ordinary life: `make goals`. Each figure stands beside its goal.

The speed of the bus beside other libraries is measured by `benchmarks.suite`.
"""
