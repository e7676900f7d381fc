"""Published scaling laws: the training loss of a design, the sizes of least loss for a compute, and widths of equal loss.

A law is a file of `workloads/scaling_laws`, with source, range and error. Most likely to be wrong: that a law fitted on other data, tokenizer and
recipe says anything of a user's; only differences inside one law mean something. Derivation: docs/theory/scaling_laws.md.
"""
