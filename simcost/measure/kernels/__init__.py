"""One file a family of kernels; the file's name is the family's. Each offers `build(op, bench, copies) -> Kernel`."""
