"""Towers of multimodal checkpoints: one module a family of wrappers, which says what stands beside the language model.

A module's `WRAPPERS` names the `model_type` of every wrapper that it knows, with the rule that reads its towers and projectors. Wrappers decide, not
towers alone: the same encoder has another projector in each. Every rule is counted against the wrapper's class on the meta device.
"""
