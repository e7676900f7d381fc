"""One file a variant: its dimensions, weights, state, calls, mapping from Hugging Face keys, and source."""
