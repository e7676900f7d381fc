"""Ways to teach a small model by a large one: what each computes, keeps and sends."""
