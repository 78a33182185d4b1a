"""The supervisor and what it holds."""
