"""serve: a design under load."""
