"""Curves through measured rows: an analytic form, a smooth residual, measured sites, and the interval of all three."""
