"""A training step of many plans at once: kernels priced where plans differ in them, schedules by their closed forms,
memory by what is in flight."""
