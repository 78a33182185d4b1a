"""A search for input that a venue's decoders do not survive: `make fuzz`, see docs/venues.md."""
