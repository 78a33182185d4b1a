"""The supervisor and its parts."""
