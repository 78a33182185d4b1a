"""Kraken spot, WebSocket v2, as a simulated venue: synthetic market, recordings, session, REST."""
