"""The subscriber's side of a plant."""
