"""Pictures of how models learn and think: budgets of thinking, distillation, scaling laws, stages of a recipe."""
