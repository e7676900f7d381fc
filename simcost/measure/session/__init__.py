"""One run: kernels, layers and collectives within a deadline, written as they come."""
