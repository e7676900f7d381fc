"""ModelSpec: a design as stacks of blocks, read from a Hugging Face config. Models are data, there is no per-model code."""
