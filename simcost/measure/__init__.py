"""Torch microbenchmarks: the only place where torch is imported."""
