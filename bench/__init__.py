"""Benchmarks: `python -m bench` runs all, `python -m bench.NAME` one. Each checks its result and names a rival."""
