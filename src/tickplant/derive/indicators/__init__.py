"""Indicators by family, and the table of all of them."""
