"""The dialects of simulated venues, one folder each."""
