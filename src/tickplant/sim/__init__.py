"""The simulated venue: a real local server that speaks a venue's WebSocket and REST."""
