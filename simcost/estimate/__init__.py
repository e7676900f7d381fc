"""One priced step: its stages, its memory, what it answers, and whether it can run."""
