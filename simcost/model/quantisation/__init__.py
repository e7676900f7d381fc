"""How a checkpoint stores its weights: what quantisers write into `quantization_config`, method by method, and which modules they leave out."""
