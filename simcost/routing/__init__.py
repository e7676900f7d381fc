"""How tokens choose experts, in numbers."""
