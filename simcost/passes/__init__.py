"""Program to program: backward passes, overlaps, and what they cost each other."""
