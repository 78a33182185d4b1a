"""Benchmarks: `python -m bench` runs all, `python -m bench.NAME` runs one. Each checks its result and names a rival."""
