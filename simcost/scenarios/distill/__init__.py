"""distill: what it costs to teach a small model by a large one, way by way."""
