"""Coinbase Exchange: the WebSocket feed of the exchange, and its REST."""
