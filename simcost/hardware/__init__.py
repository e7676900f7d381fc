"""Devices and links as facts, with the assumptions that stand in for measurements kept apart."""
