"""Commands for where people already work, and completion at the shell."""
