"""Pictures, one file a kind."""
