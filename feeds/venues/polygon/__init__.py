"""Polygon.io, also under its new name Massive: stocks, options and crypto over WebSockets."""
