"""Puts this folder on the import path, so that the rooms below it share `toykit`; and no property fails for a slow machine."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
