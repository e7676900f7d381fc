"""One file a foreign format; each turns tables of others into rows of ours, and says what it left out and why."""
