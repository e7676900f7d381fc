"""Bytes of a token that a teacher hands to a student, and what a student computes to read its teacher's hidden states.

Most likely to be wrong: compression of stored logits, of which there is none here. Sources: top-k as an id of 4 bytes
and a value of 2 (BF16), which vLLM and verl return; docs/theory/distillation.md.
"""

from __future__ import annotations

from simcost.num import Num

ID_BYTES = 4.0  # of a token's id: vocabularies are beyond 2^16
VALUE_BYTES = 2.0  # of a logit or a hidden element: BF16


def text_bytes() -> float:
    """Of a token of text, as an id. [B]"""
    return ID_BYTES


def top_k_bytes(k: Num) -> Num:
    """Of the k most likely next tokens: id and value of each. [B]"""
    return k * (ID_BYTES + VALUE_BYTES)


def logits_bytes(vocabulary: Num) -> Num:
    """Of all logits of a token, whose ids go without saying. [B]"""
    return VALUE_BYTES * vocabulary


def hidden_bytes(hidden_size: Num, layers: Num) -> Num:
    """Of a token's hidden states after so many layers. [B]"""
    return VALUE_BYTES * hidden_size * layers


def projection_flops(teacher_hidden: Num, student_hidden: Num, layers: Num) -> Num:
    """Of a learned projection from the student's width to the teacher's at each chosen layer: forward, and both
    gradients. [FLOP per token]"""
    return 3.0 * 2.0 * teacher_hidden * student_hidden * layers
