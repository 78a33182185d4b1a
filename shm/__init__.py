"""Record layouts, ring, atomics and doorbells: what two processes share. Imports no sibling."""
