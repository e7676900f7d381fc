"""Renderings of a Result: console, CSV, markdown, JSON, plots. They read the Result and nothing else."""
