"""WebSocket libraries behind one interface."""
