"""How long models think: lengths of answers at levels and budgets, several answers at a time, accuracy by budget, and what a thousand tokens buy."""
