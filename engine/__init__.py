"""Books, bars, the publisher and the engine process."""
