"""Serving: what a scheduler makes of requests, given how long its steps take. It knows no ops and no model."""
