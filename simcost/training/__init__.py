"""Training: what a step and a run of it cost."""
