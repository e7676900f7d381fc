"""Breaches that are known, each with its reason: what tables say of real kernels, and what their fits leave over.

An entry holds for a law, for devices, engines and kinds by pattern, and up to a factor beyond the interval: what is worse is no longer
known. Most likely to be wrong: a reason that was read off a table and not off the kernel.
"""

from __future__ import annotations

import re
from dataclasses import replace

from simcost.frozen import frozen
from simcost.validation.laws.times import Broken


@frozen
class Known:
    """`most`: the factor beyond the interval up to which the reason holds."""

    law: str
    device: str
    engine: str
    what: str
    most: float
    why: str

    def holds(self, one: Broken) -> bool:
        """Whether this entry explains a breach."""
        patterns = ((self.law, one.law), (self.device, one.device), (self.engine, one.engine), (self.what, one.what))
        return one.beyond <= self.most and all(re.fullmatch(pattern, text) for pattern, text in patterns)


_ANY = ".*"
_MOE = "(mixtral-8x7b|gpt-oss-120b|qwen3-235b-a22b|llama-4-scout|mimo-v2-flash)"
KNOWN = (
    Known(
        "grows.*|newer", "h[12]00|g?b[23]00", "trtllm", "experts bf16-bf16-bf16-gated.*|.*(mimo-v2-flash|llama-4-scout) bf16.*", 2.1,
        "one of three routings of TensorRT-LLM's bf16 experts ran another kernel: one token with 8 of 256 experts (4096 x 512) takes "
        "57, 55 and 222 us on the H200",
    ),
    Known(
        "newer", "h200", "sglang", "experts bf16-bf16-bf16-gated.*|.*llama-4-scout bf16.*", 1.1,
        "SGLang's H200 rows of 16 experts (5120 x 2048) are left out as twice the H100's, and its curve goes over their place",
    ),
    Known(
        "narrower|newer", _ANY, _ANY, f"experts bf16-fp8(_block)?-fp8(_block)?-gated.*|.* {_MOE} fp8(_block)? .*", 2.0,
        "rows of experts in fp8 are slower than in bf16 where experts are few and wide (vLLM on the B200: 1.06 ms against 0.56 for 16 "
        "experts of 5120 x 1024), and vLLM's table stands in for TensorRT-LLM's",
    ),
    Known(
        "narrower", _ANY, _ANY, "gemm bf16-(fp8-fp8|nvfp4-nvfp4|fp8_block-fp8_block) .*|prefill .* fp8 over bf16", 3.9,
        "the quantisation of the input takes longer than a product with few columns (vLLM on the B300: 16,384 rows of 2,560 take 166 us in "
        "fp8 whether columns are 256 or 512, 16 and 28 in bf16)",
    ),
    Known(
        "narrower", _ANY, _ANY, "(decode|prefill) .* fp8(_block)? over bf16", 1.15,
        "steps of dense models in which such products take the most: the L40S, whose fp8 is twice its bf16 and whose kernels of fp8 blocks "
        "are not, and many GPUs, whose shards have few columns",
    ),
    Known(
        "narrower|newer", _ANY, _ANY, "attention_prefill .*", 2.6,
        "prompts of less than 0.1 ms, beyond a factor of 1.2: tables of an fp8 cache, and of Blackwell, say so shape by shape; nobody has "
        "looked why",
    ),
    Known(
        "narrower", "l40s", _ANY, "attention_decode bf16-fp8-fp8-(gqa|latent)-write over bf16", 4.0,
        "the L40S's rows of a few sequences with an fp8 cache grow as if keys were not split (TensorRT-LLM: 131,072 keys take 2.2 ms "
        "against 0.16), and its MLA table for one holds the times of bf16",
    ),
    Known(
        "narrower", _ANY, _ANY, "attention_decode bf16-fp8-fp8-(latent|window)-write over bf16", 1.25,
        "128 heads of MLA, and windows of 128 keys, on so few keys that the bytes of the cache do not matter",
    ),
    Known(
        "newer", _ANY, _ANY, "attention_decode .*|(batched_)?gemm .*|all_.*|reduce_scatter .*|experts .*|prefill mixtral-8x7b bf16 .*", 1.75,
        "calls of a few microseconds take longer in the newer part's tables (NCCL's all-gather of 1 kB: 9 us on the B200, 5 on the H200); of longer ones, MLA "
        "decode and vLLM's experts in bf16 on the B200, by up to 1.12",
    ),
    Known(
        "newer|grows.*", "g?b300", "vllm|any", "all_reduce.*|(decode|prefill) .*", 1.15,
        "vLLM's rows of an all-reduce over eight B300 jump from 9 us at 128 kB to 26 at 256 kB, and stay there up to 2 MB",
    ),
    Known(
        "grows.*", "l40s", "vllm|any", "prefill mixtral-8x7b bf16", 1.15,
        "vLLM's L40S rows of 8 experts (4096 x 14336) take 9.0 ms for 1,024 copies and 7.0 to 8.2 for 4,096",
    ),
    Known(
        "far from its floor", "h200", _ANY, "attention_prefill bf16-fp8-fp8-(gqa|window)-write.*", 1.8,
        "prompts over an fp8 cache: vLLM's rows of windows take 7 times their floor on the H200 and TensorRT-LLM's 5",
    ),
    Known(
        "far from its floor", "g?b[23]00", "vllm", "attention_prefill bf16-fp8-fp8-gqa-write.*", 1.1,
        "prompts over an fp8 cache: vLLM's rows take 4.2 times their floor on Blackwell",
    ),
    Known("far from its floor", "a100", _ANY, "attention_decode bf16-bf16-bf16-latent-write.*", 1.3, "MLA on the A100: no table is nearer"),
    Known(
        "far from its floor", "g?b[23]00", _ANY, "experts bf16-fp8_block-fp8_block-gated.*", 1.1,
        "few wide experts, as where they are slower than in bf16",
    ),
    Known(
        "grows with context", "h[12]00|l40s|g?b[23]00", _ANY, "attention_decode bf16-.*-window-write", 1.5,
        "past its window a context is no more work; a surface over few rows bends there",
    ),
)  # fmt: skip


def explained(one: Broken) -> Broken:
    """The breach with its written reason, where there is one; else as it is."""
    return replace(one, why=next((known.why for known in KNOWN if known.holds(one)), ""))
