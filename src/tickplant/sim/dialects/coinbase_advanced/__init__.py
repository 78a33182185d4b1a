"""Coinbase Advanced Trade, simulated."""
