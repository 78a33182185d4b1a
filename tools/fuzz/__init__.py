"""A search for input that crashes a venue's decoders: `make fuzz`, see docs/venues.md."""
