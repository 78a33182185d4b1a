"""What is computed from ticks: the same live, on replay and over history."""
