"""Pictures and tables of a step of reinforcement learning."""
