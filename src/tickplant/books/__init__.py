"""Order books: kernels, references, fold."""
