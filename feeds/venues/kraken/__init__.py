"""Kraken WebSocket v2."""
