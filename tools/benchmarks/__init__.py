"""Benchmarks: each module with a `main` is one, and `python -m tools.benchmarks NAME` runs it."""
