"""How an engine batches: what one scheduler may put into a step, and what its host costs."""

from __future__ import annotations

from simcost.frozen import frozen


@frozen
class Policy:
    """name: of a module of `serving/policies`; tokens: budget of one step of one scheduler; sequences: the most that run at a time;
    stream_interval: tokens between two outputs that a client sees; host_step_s: the host's work on a step that the device waits for [s];
    host_request_s: what a request costs outside the steps, before its first token [s]; admission: whether a request waits for room for its
    "prompt" or for its "whole" length."""

    name: str = "mixed"
    tokens: float = 8192.0
    sequences: float = 256.0
    stream_interval: float = 1.0
    host_step_s: float = 0.0
    host_request_s: float = 0.0
    admission: str = "prompt"
