"""rl: one step of reinforcement learning, phase by phase, and the run that it is one of."""
