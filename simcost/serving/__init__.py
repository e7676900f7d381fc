"""Serving: engines under load. Step times come from outside; nothing here knows a kernel or a model."""
