"""Chunk codec, journal, store reader, replay and the writer process."""
