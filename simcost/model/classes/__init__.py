"""What the class of a model_type makes of its config: facts that files leave out, defaults, spellings, tied embeddings."""
