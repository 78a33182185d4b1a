"""A simulated live gateway of Databento."""
