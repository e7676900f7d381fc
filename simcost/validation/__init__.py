"""Predictions against measurements: whole blocks, and kernels that others published."""
