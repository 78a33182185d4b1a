"""What a simulated venue speaks: one folder a venue."""
