"""The answers of published scaling laws: one design or compute asked of all, and one law or all in full."""
