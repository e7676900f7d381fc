"""What lies in a model's directory beside its config, or is passed in its place: side files, checkpoints, GGUF, native parameters, the hub's cache."""
