"""Towers beside the language model: what images and sounds pass before they become tokens."""
