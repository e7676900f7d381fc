"""Which keys a query sees where it picks pools of consecutive tokens, each with all its tokens, and beside them the tokens that no pool holds yet.

A pool can be picked once its last token is there. Most likely to be wrong: a kernel that pads the incomplete pool to a whole one. Source: Hugging Face
`modeling_glm5_next.py` (get_pooled_states, append_visible_tail).
"""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.num import Num, floor, maximum, minimum
from simcost.ops.attention_core import Mask


@frozen
class PooledMask(Mask):
    """`picked` tokens in whole pools of `pool` tokens; `tail`: the tokens of the incomplete pool are seen too."""

    pool: Num = 1.0
    tail: bool = True

    def pairs(self, q_len: Num, past: Num) -> Num:
        """(query, key) pairs of one sequence, token by token: at n tokens n - n mod pool up to `picked`, and n mod pool of the tail."""
        return self._pairs(past + q_len) - self._pairs(past)

    def keys(self, q_len: Num, past: Num) -> Num:
        """Distinct keys that the q_len queries touch together: no more than there are pairs."""
        return minimum(past + q_len, self.pairs(q_len, past))

    def pools(self, q_len: Num, past: Num) -> Num:
        """(query, whole pool) pairs of one sequence: those that are scored."""
        tokens = Mask().pairs(q_len, past)
        return (tokens - self._rests(past + q_len) + self._rests(past)) / self.pool

    def _rests(self, tokens: Num) -> Num:
        """Sum of n mod pool for n up to `tokens`."""
        whole = floor((tokens + 1.0) / self.pool)
        rest = tokens + 1.0 - whole * self.pool
        return whole * self.pool * (self.pool - 1.0) / 2.0 + rest * (rest - 1.0) / 2.0

    def _pairs(self, tokens: Num) -> Num:
        """Of the first `tokens` queries."""
        assert self.picked is not None
        few = minimum(tokens, self.picked - 1.0)  # as long as every whole pool is picked
        found = few * (few + 1.0) / 2.0 - self._rests(few) + maximum(tokens - few, 0.0) * self.picked
        return found + self._rests(tokens) if self.tail else found
