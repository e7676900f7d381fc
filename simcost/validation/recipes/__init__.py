"""Published runs of reinforcement learning beside predictions: the step, its phases, their order."""
