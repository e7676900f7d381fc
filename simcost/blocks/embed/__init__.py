"""Plug-ins of this kind, found by their file name."""
