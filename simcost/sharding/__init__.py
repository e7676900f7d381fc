"""What one rank sees of a block."""
