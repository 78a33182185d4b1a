"""What turns venue bytes into ticks: transports, venue adapters, the feed process, the simulated venue."""
