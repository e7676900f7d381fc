"""think: what answers under thinking budgets cost, one at a time or several, against larger models and longer training."""
