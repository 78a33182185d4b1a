"""An invented venue to copy: docs/venues.md goes through it file by file."""
