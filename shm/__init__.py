"""The ring, its atomics and its doorbells: what processes share. Of other rooms, imports only records and kernels."""
