"""What each way to distil takes for so many tokens: GPU-seconds by what they are spent on, bytes kept and sent.

`samples` of a prompt and an answer are trained on `epochs` times. What goes side by side (a teacher inside a training
step) takes as many GPU-seconds as one after the other, on GPUs that are shared out such that none waits. Most likely to
be wrong: just that balance, and samples that are thrown away, which only the user knows. Source:
docs/theory/distillation.md.
"""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.num import Num

DATA, ONLINE, TOP_K, FULL, FEATURE, ON_POLICY, RL = (
    "data", "logits online", "logits stored, top-k", "logits stored, all", "feature", "on-policy", "rl",
)  # fmt: skip
TOKEN_BY_TOKEN = (ONLINE, TOP_K, FULL, FEATURE, ON_POLICY)  # both models read the same tokens


@frozen
class Amount:
    """How much is trained: `samples` an epoch, tokens of a `prompt` and an `answer` on average, `epochs`. kept: share
    of what the teacher writes that stays after selection; written: whether logits and features are of text that the
    teacher writes, and not of text that is there."""

    samples: float
    prompt: float
    answer: float
    epochs: float = 1.0
    kept: float = 1.0
    written: bool = False

    @property
    def tokens(self) -> float:
        """Of an epoch."""
        return self.samples * (self.prompt + self.answer)

    @property
    def trained(self) -> float:
        """Of all epochs."""
        return self.tokens * self.epochs


@frozen
class Rates:
    """Tokens a second of one GPU: answers that the teacher writes and the student writes, texts that the teacher reads,
    and that the student trains on; `projected`: of the last with the projections of hidden states."""

    writes: Num
    rolls: Num
    reads: Num
    trains: Num
    projected: Num


@frozen
class Payload:
    """Bytes of a token: of text, of what is sent or kept of logits, and of hidden states."""

    text: Num
    logits: Num
    top_k: Num
    hidden: Num


@frozen
class Cost:
    """GPU-seconds of generation by the teacher, roll-out by the student, the teacher's forward passes and training;
    bytes of a token that are handed over, bytes kept, and bytes sent."""

    writing: Num
    rolling: Num
    reading: Num
    training: Num
    token_bytes: Num
    kept_bytes: Num
    sent_bytes: Num

    @property
    def gpu_s(self) -> Num:
        """Of all."""
        return self.writing + self.rolling + self.reading + self.training


def costs(a: Amount, r: Rates, p: Payload) -> dict[str, Cost]:
    """The cost of every variant, by its name; all train as many tokens."""
    written = a.samples * a.answer / a.kept / r.writes
    text = written if a.written else 0.0 * written
    training, once = a.trained / r.trains, a.tokens / r.reads
    again = a.trained / r.reads
    read_back = 1.0 + a.epochs  # written once, read every epoch
    texts = p.text * a.tokens

    def stored(size: Num) -> Cost:
        kept = (size + p.text) * a.tokens
        return Cost(text, 0.0, once, training, size, kept, read_back * kept)

    return {
        DATA: Cost(written, 0.0, 0.0, training, p.text, texts, read_back * texts),
        ONLINE: Cost(text, 0.0, again, training, p.logits, texts, p.logits * a.trained),
        TOP_K: stored(p.top_k),
        FULL: stored(p.logits),
        FEATURE: Cost(text, 0.0, again, a.trained / r.projected, p.hidden, texts, p.hidden * a.trained),
        ON_POLICY: Cost(
            0.0,
            a.samples * a.epochs * a.answer / r.rolls,
            again,
            training,
            p.top_k,
            0.0,
            (p.top_k + p.text) * a.trained,
        ),
    }
