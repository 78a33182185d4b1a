"""What all processes of a plant share: configuration, control messages, accounts, the frame of a child's work."""
