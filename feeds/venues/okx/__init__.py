"""OKX, spot, API v5: docs/venues.md."""
