"""Databento: DBN files, and the live gateway."""
