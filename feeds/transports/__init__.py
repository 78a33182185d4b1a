"""Transports behind one interface: two WebSocket libraries, and plain TCP."""
