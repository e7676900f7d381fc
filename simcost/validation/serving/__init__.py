"""Predicted serving against measured serving."""
