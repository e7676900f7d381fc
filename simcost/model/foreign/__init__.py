"""Models in other files than a Hugging Face config: what they state, as that config would."""
