"""Polygon.io's WebSockets: stocks, options, crypto."""
