"""Whole layers in torch, timed against the sum of their kernels."""
