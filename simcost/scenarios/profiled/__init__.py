"""A trace of torch.profiler beside the prediction: what kernels took, what they were expected to take, and where the two differ.

`stream` reads the file event by event, `events` keeps what counts, `names` says what kind of work a kernel does, `spans` measures gaps and overlap, `predicted` the other side,
`matched` puts kernels to ops, `result` says it. Not to be confused with `simcost.report.trace`, which writes timelines of predictions for Perfetto.
"""
