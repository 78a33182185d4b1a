"""OKX, spot, API v5, simulated."""
