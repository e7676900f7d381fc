"""Measured rows -> curves with intervals. Rows are data; curves are derived from them at load and never committed."""
