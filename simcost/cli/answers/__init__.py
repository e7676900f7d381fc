"""Commands that ask about answers."""
