"""Derived series: one file a derivation."""
