"""Which number moves a metric most, and which value of one number reaches a goal."""
