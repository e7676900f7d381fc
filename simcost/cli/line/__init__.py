"""How a command line is read: a simple line at once, every other by the parser."""
