"""Puts this folder on the import path, so that the rooms below it share `toykit`."""
