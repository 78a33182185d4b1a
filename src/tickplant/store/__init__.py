"""Reading what was stored."""
