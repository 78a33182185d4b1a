"""Coinbase Advanced Trade: its market data WebSocket."""
