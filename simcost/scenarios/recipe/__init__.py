"""Recipes: stages from pre-training to reinforcement learning, each priced by its own command, in a row."""
