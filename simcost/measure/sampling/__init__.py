"""Timing kernels at points: which formats a device has, the rates that it reaches, visits of points."""
