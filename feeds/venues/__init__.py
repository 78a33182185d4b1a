"""One folder a venue, and the catalogue of all."""
