"""Which points are measured, and in which order."""
