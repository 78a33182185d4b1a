"""Coinbase Exchange, simulated."""
