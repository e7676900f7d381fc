"""Sweeps of more points than memory holds rows: worked out in blocks, here or on many machines, kept beside the output, and put together at the end."""
