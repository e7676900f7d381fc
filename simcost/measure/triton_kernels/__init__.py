"""Our own GPU kernels, in Triton, for what torch does not have. Imported only where Triton is."""
