"""What rules of towers share: reading a table, encoders that several wrappers have."""
