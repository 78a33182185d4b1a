"""Turns venue bytes into ticks: transports, venue adapters, the feed process."""
