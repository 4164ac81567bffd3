"""Training: one step for every game, and the loop around it; it knows the protocol and no model."""
