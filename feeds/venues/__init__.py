"""The venues, one folder each."""
