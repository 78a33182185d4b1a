"""Order books: kernels, plain references, and the fold."""
