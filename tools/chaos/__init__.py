"""A plant under a seeded mixture of faults, and the proof that nothing is missing: `python -m chaos --help`."""
