"""Coinbase Exchange: its WebSocket feed and its REST API."""
