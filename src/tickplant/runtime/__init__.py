"""What every process of a plant shares: configuration, control messages, accounts, a child's frame."""
