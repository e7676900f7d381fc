"""Settings of a plan; those that a training step alone takes stand apart."""

from __future__ import annotations

from typing import Any

from simcost.settings._setting import CHOICE, COUNT, FACTOR, FORMAT, NAME, SWITCH, TRAIN, Setting


def _plan(key: str, kind: str, meaning: str, default: str = "", **more: Any) -> Setting:
    return Setting("plan", key, kind, meaning, default, **more)


_MEGATRON, _VLLM = "Megatron Core, parallel_state.py", "vLLM, engine arguments"
SIZES = ("tp", "pp", "ep", "dp", "cp", "etp", "dp_attention")  # that have an option, and a keyword, of their own

PLAN = (
    _plan("tp", COUNT, "tensor parallelism: number of devices among which heads and widths are split", "1", aliases=("tensor_parallel_size", "tp_size"), source=_MEGATRON),
    _plan("cp", COUNT, "context parallelism: number of devices among which the tokens of a sequence are split", "1", aliases=("context_parallel_size", "cp_size"), source=_MEGATRON),
    _plan("dp_attention", COUNT, "replicas of the attention that share one set of experts", "ep / (tp · cp), at least 1", source="SGLang, --enable-dp-attention"),
    _plan("pp", COUNT, "pipeline stages", "1", aliases=("pipeline_parallel_size", "pp_size"), source=_MEGATRON),
    _plan("vpp", COUNT, "virtual stages per device", "1", aliases=("virtual_pipeline_model_parallel_size",), source=_MEGATRON),
    _plan("dp", COUNT, "whole copies of the model", "as many as plan.gpus hold, else 1"),
    _plan("ep", COUNT, "expert parallelism: number of devices over which experts are spread", "1", aliases=("expert_parallel_size", "ep_size"), source=_MEGATRON),
    _plan("etp", COUNT, "number of slices into which the width of each expert is split", "devices of a stage / ep", aliases=("expert_tensor_parallel_size",), source=_MEGATRON, needs=(("", "experts"),)),
    _plan("gpus", COUNT, "devices of the cluster; --gpus and --nodes say the same", "as many as the plan takes"),
    _plan("redundant_experts", COUNT, "slots for copies of busy experts (EPLB), over all ranks", "0", least=0, needs=(("", "experts"),), source="DeepSeek, EPLB"),
    _plan("capacity_factor", FACTOR, "rows that each expert may take over its fair share, the rest is padded; none: dropless", "none", needs=(("", "experts"),), source="Megatron Core, moe_expert_capacity_factor"),
    _plan("sequence_parallel", CHOICE, "activations between tensor-parallel regions are cut over the tp ranks", "off", choices=SWITCH, needs=(("", "tp"),), source=_MEGATRON),
    _plan("cp_method", CHOICE, "how context parallelism exchanges keys and values", "ring", choices=("ring", "all_gather", "ulysses"), needs=(("all_gather", "cp_prefill"), ("ulysses", "cp"))),
    _plan("all_to_all", CHOICE, "whose exchange carries tokens to their experts; auto: low_latency in decode, normal in prefill, NVLink's on a rack", "auto",
          choices=("auto", "normal", "low_latency", "nccl", "nvlink"), needs=(("", "travels"),), source="DeepEP; NCCL; TensorRT-LLM"),
    _plan("overlap", CHOICE, "what runs beside communication: two half batches, shared experts, or tensor-parallel GEMMs", "none",
          choices=("none", "two_batch", "shared_experts", "tensor_parallel"), needs=(("two_batch", "exchanges"), ("shared_experts", "shared"), ("tensor_parallel", "tp"))),
    _plan("overlap_p2p_comm", CHOICE, "hops between pipeline stages run beside the stages", "off", choices=SWITCH, needs=(("", "pp"),), source="Megatron Core, overlap_p2p_comm"),
    _plan("cuda_graph", CHOICE, "decode steps are replayed as CUDA graphs; off: every kernel is launched from the host", "on", choices=SWITCH, source=_VLLM),
    _plan("weight_dtype", FORMAT, "format of linear weights; experts and others too where the config says no other", "the config's", aliases=("quantization",), source=_VLLM),
    _plan("compute_dtype", FORMAT, "format in which linear layers multiply", "that of the weights where the device has it"),
    _plan("kv_dtype", FORMAT, "format of the cache of keys and values", "bf16", aliases=("kv_cache_dtype",), source=_VLLM),
    _plan("state_dtype", FORMAT, "format of recurrent states (Gated DeltaNet, Mamba)", "the config's, else fp32", aliases=("mamba_ssm_cache_dtype",), needs=(("", "recurrent"),), source=_VLLM),
    _plan("activation_dtype", FORMAT, "format of activations between kernels", "the config's"),
    _plan("mla_form", CHOICE, "whether MLA expands keys and values, or absorbs the up-projections; auto: the faster", "auto", choices=("auto", "expanded", "absorbed"), needs=(("", "mla"),), source="DeepSeek-V2, arXiv 2405.04434"),
    _plan("dequantise", CHOICE, "weights in a narrow format are unpacked inside the GEMM, or by a kernel of their own", "fused", choices=("fused", "separate"), needs=(("", "packed"),)),
)  # fmt: skip


_TRAIN = {"steps": TRAIN}
# Of a training step alone.
TRAINING = (
    _plan("schedule", NAME, "pipeline schedule: gpipe, 1f1b, interleaved, zb-h1, zb-h2, zb-1p, zb-2p, zb-v, v-half, dualpipe or dualpipev", "1f1b; interleaved with vpp above 1", **_TRAIN),
    _plan("stages", NAME, "layers of every virtual stage, in order: even, time (the longest stage as short as it can be), 15,16,16,14, or megatron:first=3,last=4", "even", source="Megatron-LM, --decoder-first-pipeline-num-layers", **_TRAIN),
    _plan("recompute", NAME, "what backward passes run again: none, full, full:4 (every 4 layers keep one input), block:4 (4 layers of a virtual stage), or modules joined by +: layernorm, core_attn, activation, mla_up_proj, mlp, moe, shared_experts; op: all but what torchtitan's list of operators puts out", "none", source="Megatron Core, recompute_granularity", **_TRAIN),
    _plan("zero_stage", COUNT, "what data-parallel ranks share out: 0 nothing, 1 optimizer states, 2 gradients too, 3 weights too (FSDP)", "1", least=0, aliases=("zero",), source="ZeRO, arXiv 1910.02054", **_TRAIN),
    _plan("zero_group", COUNT, "ranks that share one set of parts (HSDP)", "all that hold the same weights", source="PyTorch FSDP2, fully_shard", **_TRAIN),
    _plan("reshard", CHOICE, "with zero_stage=3: weights that were gathered are let go after the forward pass", "on", choices=SWITCH, source="PyTorch FSDP2, reshard_after_forward", **_TRAIN),
    _plan("precision", NAME, "formats of training: bf16, bf16-pure (no fp32 copy of weights), fp16, fp32, fp8-tensor, fp8-tensor-ends-bf16, fp8-row, fp8-block, mxfp8, nvfp4, nvfp4-last-bf16, or a file (workloads/precisions)", "bf16", **_TRAIN),
    _plan("loss", NAME, "the loss over the vocabulary: plain (in fp32), gathered (plain, on every tensor-parallel rank with the logits of all), fused, or without logits that stay: chunked, chunked:8 (a few tokens at a time, with their gradients), cut (logits are computed again)", "the stack's: plain or fused", source="Megatron Core; Liger, arXiv 2410.10989; Cut Cross Entropy, arXiv 2411.09009", **_TRAIN),
    _plan("optimizer", NAME, "adamw, adamw-8bit, adamw-bf16-moments, muon, sgd, or a file (workloads/optimizers)", "adamw", **_TRAIN),
    _plan("frozen", NAME, "parts that do not learn, joined by +: attention, ffn, experts, shared_experts, router, embedding, head, norm", "none", **_TRAIN),
    _plan("frozen_dtype", CHOICE, "format in which matrices of layers that do not learn are kept, and from which they are widened for each product (QLoRA)", "the precision's", choices=("nf4", "nf4-dq", "int8"), source="QLoRA, arXiv 2305.14314", **_TRAIN),
    _plan("ema", CHOICE, "a moving average of the weights in fp32: device, beside the optimizer's states; host, in the host's memory, sent beside the next step", "off", choices=("off", "device", "host"), source="DeepSeek-V3, arXiv 2412.19437 §3.2.3", **_TRAIN),
    _plan("lora_rank", COUNT, "adapters of this rank learn beside every linear layer, and nothing else does", "none: all weights learn", source="LoRA, arXiv 2106.09685", **_TRAIN),
)  # fmt: skip
