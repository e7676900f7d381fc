"""Hardware-free kernels: an op describes work, it never knows time. Each is a small frozen value.

Every dimension is a scalar or a broadcasting array (`simcost.num.Num`). Bytes are what the kernel must move once.
"""
