"""Chunk codec, journal, index and the writer process."""
