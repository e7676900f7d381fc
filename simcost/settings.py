"""Every key that a user may set: of a model, a plan, a step, an engine and a device. What values it takes, its default, what it needs, and what
it means.

The command line's help, checks, error texts and completion, `simcost keys`, docs/settings.md, the JSON Schema of a file of settings, and the notes on
settings without effect read this. Model keys are Hugging Face's; a plug-in's own keys (`HANDLES`) need no entry here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from simcost.errors import SpecError, nearest

ROOTS = ("model", "plan", "phase", "engine", "hw")
STACK = "stack"  # the root of flags of a training stack (`workloads/stacks`), which a training step alone takes
# What a value is, where it is no dimension of `units`. LENGTH: a count of tokens, of which 64k are 65,536.
COUNT, LENGTH, CHOICE, FORMAT, FACTOR, NAME = "count", "length", "choice", "format", "factor", "name"
FLAG, LIST, TABLE = "flag", "list", "table"
WHOLE = (COUNT, LENGTH)
SWITCH, STEPS, TRAIN = ("off", "on"), ("decode", "prefill"), ("train",)
LARGEST = 1_000_000_000
NEEDS = {
    "experts": "a model with routed experts",
    "travels": "tokens that travel to their experts: ep above 1, and ranks that hold different tokens",
    "exchanges": "ranks of a stage that hold different tokens",
    "shared": "a model with shared experts, and either an exchange of tokens or few tokens a rank",
    "mla": "a model with MLA",
    "recurrent": "a model with recurrent states",
    "packed": "weights in a narrower format than they are computed in",
    "tp": "tp above 1",
    "cp": "cp above 1",
    "cp_prefill": "cp above 1, and a step of more than one token",
    "pp": "pp above 1",
}


class Setting(NamedTuple):
    """One key. `kind`: COUNT, LENGTH, CHOICE, FORMAT (of numbers), FACTOR, NAME, FLAG, LIST, TABLE, or a dimension of `units`. `default`: in words.
    `least`: of a count. `needs`: (a value or "" for any, a key of NEEDS) that must hold, or the setting has no effect. `steps`: which take it."""

    root: str
    key: str
    kind: str
    meaning: str
    default: str = ""
    choices: tuple[str, ...] = ()
    least: int = 1
    aliases: tuple[str, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    source: str = ""
    steps: tuple[str, ...] = STEPS

    @property
    def path(self) -> str:
        """As it is written after --set."""
        return self.key if self.root == "phase" or self.key == "engine" else f"{self.root}.{self.key}"

    @property
    def takes(self) -> str:
        """The values in words."""
        if self.kind == CHOICE:
            return ", ".join(self.choices)
        if self.kind in WHOLE:
            return f"whole number from {self.least}" + (" (64k: 65,536)" if self.kind == LENGTH else "")
        words = {FORMAT: "number format", FACTOR: "number from 0 to 1000, or none", FLAG: "true, false"}
        return words.get(self.kind, self.kind.replace("_per_s", "/s").replace("_", " "))


def _plan(key: str, kind: str, meaning: str, default: str = "", **more: Any) -> Setting:
    return Setting("plan", key, kind, meaning, default, **more)


_MEGATRON, _VLLM = "Megatron Core, parallel_state.py", "vLLM, engine arguments"
PLAN = (
    _plan("tp", COUNT, "tensor parallelism: heads and widths are cut over so many devices", "1", aliases=("tensor_parallel_size", "tp_size"), source=_MEGATRON),
    _plan("cp", COUNT, "context parallelism: tokens of a sequence are cut over so many", "1", aliases=("context_parallel_size", "cp_size"), source=_MEGATRON),
    _plan("dp_attention", COUNT, "replicas of the attention that share one set of experts", "ep / (tp · cp), at least 1", source="SGLang, --enable-dp-attention"),
    _plan("pp", COUNT, "pipeline stages", "1", aliases=("pipeline_parallel_size", "pp_size"), source=_MEGATRON),
    _plan("vpp", COUNT, "virtual stages a device", "1", aliases=("virtual_pipeline_model_parallel_size",), source=_MEGATRON),
    _plan("dp", COUNT, "whole copies of the model", "as many as plan.gpus hold, else 1"),
    _plan("ep", COUNT, "expert parallelism: experts are spread over so many devices", "1", aliases=("expert_parallel_size", "ep_size"), source=_MEGATRON),
    _plan("etp", COUNT, "slices that each expert's width is cut into", "devices of a stage / ep", aliases=("expert_tensor_parallel_size",), source=_MEGATRON, needs=(("", "experts"),)),
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
    _plan("schedule", NAME, "pipeline schedule: gpipe, 1f1b, interleaved, zb-h1, zb-h2, zb-v, v-half, dualpipe or dualpipev", "1f1b; interleaved with vpp above 1", **_TRAIN),
    _plan("stages", NAME, "layers of every virtual stage, in order: even, time (the longest stage as short as it can be), 15,16,16,14, or megatron:first=3,last=4", "even", source="Megatron-LM, --decoder-first-pipeline-num-layers", **_TRAIN),
    _plan("recompute", NAME, "what backward passes run again: none, full, full:4 (every 4 layers keep one input), block:4 (4 layers of a virtual stage), or modules joined by +: layernorm, core_attn, activation, mla_up_proj, mlp, moe, shared_experts; op: all but what torchtitan's list of operators puts out", "none", source="Megatron Core, recompute_granularity", **_TRAIN),
    _plan("zero_stage", COUNT, "what data-parallel ranks share out: 0 nothing, 1 optimizer states, 2 gradients too, 3 weights too (FSDP)", "1", least=0, aliases=("zero",), source="ZeRO, arXiv 1910.02054", **_TRAIN),
    _plan("zero_group", COUNT, "ranks that share one set of parts (HSDP)", "all that hold the same weights", source="PyTorch FSDP2, fully_shard", **_TRAIN),
    _plan("reshard", CHOICE, "with zero_stage=3: weights that were gathered are let go after the forward pass", "on", choices=SWITCH, source="PyTorch FSDP2, reshard_after_forward", **_TRAIN),
    _plan("precision", NAME, "formats of training: bf16, fp16, fp32, fp8-tensor, fp8-row, fp8-block, mxfp8, nvfp4, nvfp4-last-bf16, or a file (workloads/precisions)", "bf16", **_TRAIN),
    _plan("loss", NAME, "the loss over the vocabulary: plain (in fp32), fused, or without logits that stay: chunked, chunked:8 (a few tokens at a time, with their gradients), cut (logits are computed again)", "the stack's: plain or fused", source="Megatron Core; Liger, arXiv 2410.10989; Cut Cross Entropy, arXiv 2411.09009", **_TRAIN),
    _plan("optimizer", NAME, "adamw, adamw-bf16-moments, muon, sgd, or a file (workloads/optimizers)", "adamw", **_TRAIN),
    _plan("frozen", NAME, "parts that do not learn, joined by +: attention, ffn, experts, shared_experts, router, embedding, head, norm", "none", **_TRAIN),
    _plan("ema", CHOICE, "a moving average of the weights in fp32: device, beside the optimizer's states; host, in the host's memory, sent beside the next step", "off", choices=("off", "device", "host"), source="DeepSeek-V3, arXiv 2412.19437 §3.2.3", **_TRAIN),
    _plan("lora_rank", COUNT, "adapters of this rank learn beside every linear layer, and nothing else does", "none: all weights learn", source="LoRA, arXiv 2106.09685", **_TRAIN),
)  # fmt: skip


def _phase(key: str, meaning: str, default: str, **more: Any) -> Setting:
    return Setting("phase", key, more.pop("kind", COUNT), meaning, default, **more)


PHASE = (
    _phase("batch", "sequences in all, over all replicas", "1", aliases=("batch_size",)),
    _phase("context", "tokens that the new token attends to, itself included", "4096", steps=("decode",), aliases=("context_length",), kind=LENGTH),
    _phase("isl", "new tokens a sequence (input sequence length)", "4096", steps=("prefill",), aliases=("input_len", "input_length"), kind=LENGTH),
    _phase("past", "tokens already in the cache (chunked prefill)", "0", steps=("prefill",), least=0, kind=LENGTH),
    _phase("chunk", "a prompt passes in chunks of so many tokens", "the whole prompt", steps=("prefill",), aliases=("chunk_size",), kind=LENGTH),
    _phase("images", "images of each sequence, which pass the model's tower; their tokens are part of isl", "0", steps=("prefill",), least=0),
    _phase("image_height", "pixels of each image's height, of towers that keep an image's size", "", steps=("prefill",)),
    _phase("image_width", "pixels of its width", "", steps=("prefill",)),
    _phase("prefill_tokens", "a mixed step: so many tokens of a prompt come in beside the new ones, on every attention replica", "0", steps=("decode",), least=0, kind=LENGTH),
    _phase("prefill_past", "tokens of that prompt that are cached already", "0", steps=("decode",), least=0, kind=LENGTH),
    _phase("micro_batch", "sequences of a micro-batch of a replica", "1", steps=TRAIN),
    _phase("global_batch", "sequences of a step, over all replicas", "4 micro-batches of a replica for each pipeline stage", steps=TRAIN),
    _phase("seq", "tokens of a sequence", "4096", steps=TRAIN, aliases=("seq_len", "sequence_length"), kind=LENGTH),
    _phase("routing", "how tokens choose experts: balanced, random, zipf:0.5, dirichlet:1, or tokens per expert as CSV, a line a layer", "random", kind=NAME, steps=(*STEPS, *TRAIN)),
)  # fmt: skip

# The settings of `[memory.settings]` and `[serving.settings]` in workloads/engines, which say what each engine calls them.
_SERVING: dict[str, Any] = {"default": "by engine and release", "steps": ("serving",)}
ENGINE = (
    Setting("engine", "engine", CHOICE, "whose kernels and memory; any: the middle of the engines, kernel by kernel; torch: our own measurements", "any", choices=("any", "vllm", "sglang", "trtllm", "torch")),
    Setting("engine", "version", NAME, "release whose terms of memory and serving hold", "newest"),
    Setting("engine", "share", "fraction", "part of the device's memory that the engine takes", "by engine and release"),
    Setting("engine", "tokens", LENGTH, "tokens of its largest step", "by engine and device"),
    Setting("engine", "sequences", COUNT, "requests of its largest step", "by engine and device"),
    Setting("engine", "block", COUNT, "tokens of a page of the cache", "by engine"),
    Setting("engine", "stream_interval", COUNT, "tokens between two sends of a stream", **_SERVING),
    Setting("engine", "prefix_cache", FLAG, "prompts found in the cache are not prefilled again", **_SERVING),
    Setting("engine", "chunked", FLAG, "prompts are cut to the token budget of a step", **_SERVING),
    Setting("engine", "mixed", FLAG, "a step holds prompts and decode", **_SERVING),
    Setting("engine", "overlap", FLAG, "the host prepares a step while the one before it runs", **_SERVING),
    Setting("engine", "reserved_output", "number", "how much of what running requests may still make admission keeps free", **_SERVING),
    Setting("engine", "host_step", "seconds", "time of the host that a step shows", **_SERVING),
    Setting("engine", "host_token", "seconds", "time of the host that each token of a prompt adds before the first token", **_SERVING),
    Setting("engine", "host_request", "seconds", "time of the host that a request adds before its first token", **_SERVING),
)  # fmt: skip


def _hw(key: str, kind: str, meaning: str) -> Setting:
    return Setting("hw", key, kind, meaning, "the profile's")


HW = (
    _hw("peak.<format>", "flops_per_s", "dense peak in a format: peak.bf16, peak.fp8 and so on"),
    _hw("memory.capacity", "bytes", "memory as torch prints it"),
    _hw("memory.bandwidth", "bytes_per_s", "bandwidth of the memory"),
    _hw("compute.sm_count", "count", "multiprocessors"),
    _hw("compute.boost_clock", "hertz", "boost clock"),
    _hw("compute.l2", "bytes", "size of the L2 cache"),
    _hw("links.scaleup.bandwidth", "bytes_per_s", "bandwidth of a device's links inside the domain, one direction"),
    _hw("links.scaleup.pair_bandwidth", "bytes_per_s", "bandwidth between two devices of a mesh, one direction"),
    _hw("links.scaleup.domain", "count", "devices of a scale-up domain (a node, or a rack)"),
    _hw("links.scaleup.reduces", FLAG, "whether switches of the domain reduce"),
    _hw("links.scaleout.bandwidth", "bytes_per_s", "bandwidth of a device's network, one direction"),
    _hw("links.pcie.generation", "count", "generation of PCIe"),
    _hw("power.tdp", "watts", "thermal design power"),
    _hw("price.usd_per_hour", "usd_per_hour", "price of a device for an hour; --price says the same"),
    _hw("assumed.gemm_efficiency", "fraction", "part of the peak that a GEMM without measured rows reaches"),
    _hw("assumed.attention_efficiency", "fraction", "part of the peak that an attention core without measured rows reaches"),
    _hw("assumed.memory_efficiency", "fraction", "part of the memory's bandwidth that a kernel without measured rows reaches"),
    _hw("assumed.link_efficiency", "fraction", "part of the links' bandwidth that a collective without measured rows reaches"),
    _hw("assumed.scaleout_efficiency", "fraction", "the same of the network"),
    _hw("assumed.kernel_overhead", "seconds", "fixed time of a kernel without measured rows"),
    _hw("assumed.step_overhead", "seconds", "the engine's own time in a step"),
    _hw("assumed.eager_launch", "seconds", "time to launch a kernel from the host, without CUDA graphs"),
    _hw("assumed.collective_latency", "seconds", "fixed time of a collective without measured rows"),
    _hw("assumed.hop_latency", "seconds", "time of one hop inside the domain"),
    _hw("assumed.scaleout_hop_latency", "seconds", "time of one hop over the network"),
    _hw("measurements", NAME, "which rows may answer: none, tables (engines' alone), or the name of a run"),
)  # fmt: skip


def _model(key: str, kind: str, meaning: str, *aliases: str, least: int = 1) -> Setting:
    return Setting(
        "model", key, kind, meaning, "the config's", least=least, aliases=aliases, source="Hugging Face transformers"
    )


MODEL = (
    _model("hidden_size", COUNT, "width of the residual stream", "n_embd", "d_model"),
    _model("num_hidden_layers", COUNT, "layers", "n_layer", "n_layers", "num_layers"),
    _model("vocab_size", COUNT, "tokens of the vocabulary", "padded_vocab_size"),
    _model("num_attention_heads", COUNT, "query heads", "n_head", "n_heads", "num_heads", "attention_heads"),
    _model("num_key_value_heads", COUNT, "heads of keys and values: 1 for MQA, num_attention_heads for MHA", "num_kv_heads", "kv_n_heads", "multi_query_group_num", "num_attention_groups"),
    _model("use_mla", FLAG, "false: MLA's sizes have no effect (DeepSeek-OCR)"),
    _model("use_mfa", FLAG, "MFA: queries come from one latent, all share one head of keys and values"),
    _model("share_q_dim", COUNT, "MFA: width of the queries' latent"),
    _model("head_dim", COUNT, "width of a head of queries and keys", "kv_channels"),
    _model("v_head_dim", COUNT, "width of a head of values"),
    _model("multi_query", FLAG, "one head of keys and values"),
    _model("multi_query_attention", FLAG, "false: every query head has its own keys and values, whatever num_key_value_heads says (ChatGLM)"),
    _model("kv_lora_rank", COUNT, "MLA: rank of the latent of keys and values"),
    _model("compress_ratios", LIST, "tokens for each compressed key: 0 none, 4, 128, a number a layer (DeepSeek-V4)"),
    _model("o_lora_rank", COUNT, "rank of a group of the attention's output (DeepSeek-V4)"),
    _model("o_groups", COUNT, "groups of the attention's output (DeepSeek-V4)"),
    _model("hc_mult", COUNT, "residual streams of hyper-connections (DeepSeek-V4)"),
    _model("gated_norm_rank", COUNT, "width of the gate of a norm's output (A.X-K2)"),
    _model("index_topk", COUNT, "sparse attention: keys that a query picks"),
    _model("index_topk_blocks", COUNT, "block-sparse attention: blocks of keys that a query picks (MiniMax-M3)"),
    _model("index_block_size", COUNT, "block-sparse attention: keys of a block (MiniMax-M3)"),
    _model("dense_intermediate_size", COUNT, "width of a dense FFN where intermediate_size is that of experts (MiniMax-M3)"),
    _model("index_n_heads", COUNT, "sparse attention: heads of the indexer"),
    _model("index_head_dim", COUNT, "sparse attention: width of a head of the indexer"),
    _model("indexer_types", LIST, "sparse attention: full, or shared with the layer before, a word a layer (GLM-5)"),
    _model("q_lora_rank", COUNT, "MLA: rank of the queries' latent; null: none", least=0),
    _model("qk_nope_head_dim", COUNT, "MLA: width of a head without positions"),
    _model("qk_rope_head_dim", COUNT, "MLA: width of the rotary part, shared by all heads"),
    _model("intermediate_size", COUNT, "width of a dense FFN", "n_inner", "ffn_dim", "ffn_hidden_size", "block_ff_dim", "dff"),
    _model("intermediate_size_mlp", COUNT, "width of a dense FFN beside layers with experts (Llama 4)", "prefix_dense_intermediate_size"),
    _model("n_routed_experts", COUNT, "routed experts of a layer", "num_experts", "num_local_experts", "moe_num_experts"),
    _model("num_experts_per_tok", COUNT, "experts that a token is sent to", "experts_per_token", "num_experts_per_token", "top_k_experts", "moe_k", "moe_topk", "moe_top_k"),
    _model("moe_intermediate_size", COUNT, "width of a routed expert", "expert_ffn_hidden_size"),
    _model("n_shared_experts", COUNT, "shared experts of the routed width", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts", least=0),
    _model("shared_expert_intermediate_size", COUNT, "width of the shared experts together", "share_expert_dim", "share_expert_dims", "moe_shared_expert_intermediate_size", least=0),
    _model("shared_intermediate_size", COUNT, "the same in Granite's words", least=0),
    _model("shared_expert_gate", FLAG, "a gate weighs the shared experts"),
    _model("n_group", COUNT, "groups of experts of a group-limited router", "num_expert_group"),
    _model("topk_group", COUNT, "groups that a token may choose from"),
    _model("scoring_func", NAME, "softmax or sigmoid: how a router scores", "score_function", "moe_router_activation_func", "moe_router_activation"),
    _model("topk_method", NAME, "greedy, group_limited_greedy or noaux_tc: how a router chooses"),
    _model("router_correction_bias", FLAG, "a bias of the router that balances loads", "use_routing_bias", "moe_router_enable_expert_bias", "use_moe_router_bias", "use_expert_bias"),
    _model("router_bias", FLAG, "a bias of the router's linear layer"),
    _model("expert_bias", FLAG, "biases of the experts"),
    _model("residual_moe", FLAG, "a dense FFN of intermediate_size beside the experts (Grok-2)"),
    _model("parallel_attn_mlp_res", FLAG, "a dense FFN of hidden_size beside the experts (Arctic)"),
    _model("zero_expert_num", COUNT, "zero experts beside the routed ones, which give a token back as it came (LongCat-Flash)"),
    _model("shortcut_moe", FLAG, "a layer is two pairs of attention and dense FFN, with the experts beside the first FFN (LongCat-Flash)"),
    _model("first_k_dense_replace", COUNT, "leading layers that are dense", "num_dense_layers", least=0),
    _model("moe_layer_freq", LIST, "every how many layers experts stand, or 0 and 1 a layer"),
    _model("moe_layer_interval", COUNT, "every how many layers experts stand (Ernie)"),
    _model("moe_layer_start_index", COUNT, "first layer with experts (Ernie)", least=0),
    _model("moe_layer_end_index", COUNT, "last layer with experts (Ernie)"),
    _model("decoder_sparse_step", COUNT, "every how many layers experts stand (Qwen)"),
    _model("interleave_moe_layer_step", COUNT, "every how many layers experts stand (Llama 4)"),
    _model("mlp_only_layers", LIST, "layers that are dense"),
    _model("moe_layers", LIST, "layers with experts"),
    _model("moe_layers_enum", NAME, "the same as a text: 4,5,6 (Step-3)"),
    _model("mlp_layer_types", LIST, "dense or sparse, a word a layer"),
    _model("block_configs", LIST, "what attention and FFN of each layer are, a table a layer (Nemotron-NAS)"),
    _model("layer_types", LIST, "kind of attention, a word a layer", "layers_block_type"),
    _model("hybrid_override_pattern", NAME, "a letter a layer: M Mamba-2, * attention, - dense FFN, E experts (Nemotron-H)"),
    _model("attn_layer_period", COUNT, "every how many layers one is of attention, the others recurrent (Jamba)"),
    _model("attn_layer_offset", COUNT, "the first of these layers (Jamba)", least=0),
    _model("attn_layer_indices", LIST, "layers of attention, the others recurrent (Bamba)"),
    _model("expert_layer_period", COUNT, "every how many layers experts stand (Jamba)"),
    _model("expert_layer_offset", COUNT, "the first of these layers (Jamba)", least=0),
    _model("layer_kind", NAME, "what all layers are where no other key says so: linear_attention (recurrent), or hybrid (recurrent beside attention)"),
    _model("sliding_window", LENGTH, "tokens that a window layer sees", "sliding_window_size"),
    _model("use_sliding_window", FLAG, "whether layers slide at all"),
    _model("max_window_layers", COUNT, "layers before the first that slides", least=0),
    _model("sliding_window_pattern", COUNT, "every how many layers one sees all tokens"),
    _model("hybrid_layer_pattern", LIST, "0 full, 1 window, a number a layer (MiMo)"),
    _model("attention_chunk_size", LENGTH, "tokens of a chunk that a layer sees (Llama 4)"),
    _model("no_rope_layer_interval", COUNT, "every how many layers one sees all tokens (Llama 4)"),
    _model("swa_num_attention_heads", COUNT, "query heads of window layers (MiMo, Step-3.5)", "num_sliding_attention_heads"),
    _model("swa_num_key_value_heads", COUNT, "heads of keys and values of window layers (MiMo)"),
    _model("swa_head_dim", COUNT, "width of a head of window layers (MiMo)"),
    _model("swa_v_head_dim", COUNT, "width of a head of values of window layers (MiMo)"),
    _model("swa_q_lora_rank", COUNT, "rank of the queries' latent in window layers (dots.3)"),
    _model("swa_kv_lora_rank", COUNT, "rank of the latent in window layers (dots.3)"),
    _model("swa_qk_nope_head_dim", COUNT, "width of a head that does not rotate in window layers (dots.3)"),
    _model("swa_qk_rope_head_dim", COUNT, "width of a head that rotates in window layers (dots.3)"),
    _model("use_dsa", FLAG, "whether layers of full attention have an indexer (dots.3)"),
    _model("add_swa_attention_sink_bias", FLAG, "sinks of window layers (MiMo)"),
    _model("add_full_attention_sink_bias", FLAG, "sinks of full layers (MiMo)"),
    _model("attention_sinks", FLAG, "a learned sink a head (gpt-oss)"),
    _model("qk_norm", FLAG, "norms of queries and keys", "use_qk_norm", "qk_layernorm"),
    _model("qk_norm_type", NAME, "head, full or weightless"),
    _model("qk_norm_bias", FLAG, "biases of those norms"),
    _model("attention_bias", FLAG, "biases of the attention's linear layers"),
    _model("qkv_bias", FLAG, "biases of queries, keys and values"),
    _model("use_qkv_bias", FLAG, "the same in other words", "add_qkv_bias"),
    _model("o_bias", FLAG, "a bias of the output projection", "attention_out_bias"),
    _model("mlp_bias", FLAG, "biases of a dense FFN"),
    _model("ffn_bias", FLAG, "the same in other words"),
    _model("use_bias", FLAG, "biases of all linear layers", "enable_bias", "bias", "add_bias_linear"),
    _model("no_bias", FLAG, "false: biases of all linear layers (Qwen v1, MPT)"),
    _model("final_norm", FLAG, "false: no norm before the head (GPT-1)"),
    _model("lm_head_bias", FLAG, "a bias of the head"),
    _model("tie_word_embeddings", FLAG, "the head shares the embedding's weights", "tie_embedding"),
    _model("gate_in_intermediate_size", FLAG, "intermediate_size counts gate and up-projection together (Qwen v1)"),
    _model("gated_ffn", FLAG, "a gate beside the up-projection, as in SwiGLU"),
    _model("ffn_multiple", COUNT, "width of a dense FFN over hidden_size, where no width is given", "expansion_ratio", "intermediate_multiple_size"),
    _model("norm_vectors", COUNT, "vectors of a norm: 1 RMSNorm, 2 LayerNorm with bias", least=0),
    _model("norms_per_layer", COUNT, "norms of a layer", least=0),
    _model("use_post_norm", FLAG, "two more norms of a layer, after attention and FFN (HyperCLOVA X)"),
    _model("num_ln_in_parallel_attn", COUNT, "norms where attention and FFN stand side by side (Falcon)"),
    _model("parallel_norms", COUNT, "the same for GPT-NeoX's parallel residual"),
    _model("parallel_attn", FLAG, "attention and FFN stand side by side (Falcon)"),
    _model("new_decoder_architecture", FLAG, "Falcon's grouped heads and norms"),
    _model("use_parallel_residual", FLAG, "attention and FFN stand side by side (GPT-NeoX)"),
    _model("embedding_norm", FLAG, "a norm after the embedding (BLOOM)"),
    _model("learned_positions", COUNT, "rows of learned positions beyond max_position_embeddings", least=0),
    _model("learned_pos_emb", FLAG, "learned positions, where neither alibi nor rope is on (MPT)"),
    _model("max_position_embeddings", LENGTH, "longest context", "n_positions", "seq_length", "max_seq_len", "max_sequence_length", "model_max_length"),
    _model("partial_rotary_factor", "fraction", "part of a head that is rotated"),
    _model("rotary_dim", COUNT, "dimensions of a head that are rotated"),
    _model("full_attention_interval", COUNT, "every how many layers one is of attention, the others of linear attention (Qwen3-Next)"),
    _model("linear_num_key_heads", COUNT, "Gated DeltaNet: heads of queries and keys"),
    _model("linear_num_value_heads", COUNT, "Gated DeltaNet: heads of values, each with a state"),
    _model("linear_key_head_dim", COUNT, "Gated DeltaNet: width of a key, rows of a state"),
    _model("linear_value_head_dim", COUNT, "Gated DeltaNet: width of a value, columns of a state"),
    _model("linear_conv_kernel_dim", COUNT, "Gated DeltaNet, KDA: tokens that their convolution sees", "short_conv_kernel_size"),
    _model("linear_num_heads", COUNT, "KDA: heads, each with a state"),
    _model("linear_head_dim", COUNT, "KDA: width of a head"),
    _model("kda", FLAG, "recurrent layers are of Kimi Delta Attention"),
    _model("kda_full_rank_gates", FLAG, "KDA: gates are whole products (Ling-3.0)"),
    _model("kda_full_rank_output_gate", FLAG, "KDA: the output's gate is a whole product (Kimi-K3)"),
    _model("attn_res_block_size", COUNT, "layers between two copies of the residual stream that later ones read (Kimi-K3)"),
    _model("kda_layers", LIST, "layers of KDA, counted from one (Kimi Linear)"),
    _model("lightning", FLAG, "recurrent layers are of lightning attention (MiniMax-01)"),
    _model("attn_type_list", LIST, "0 lightning, 1 attention, a number a layer (MiniMax-01)"),
    _model("layer_group_size", COUNT, "every how many layers one is of attention, the others recurrent (Ling)"),
    _model("mla_use_output_gate", FLAG, "MLA: a gate weighs every element of the output (Kimi K3)"),
    _model("partial_rotary_factors", LIST, "part of a head that is rotated, a number a layer (Step-3.5)"),
    _model("conv_L_cache", COUNT, "short convolution: tokens that it sees (LFM2)"),
    _model("conv_bias", FLAG, "short convolution: biases of it and of the products around it (LFM2)"),
    _model("full_attn_idxs", LIST, "layers of attention, the others short convolutions (LFM2)"),
    _model("use_cla", FLAG, "cross-layer attention: layers read the keys and values of the first of their group (Hunyuan)"),
    _model("cla_share_factor", COUNT, "layers of such a group (Hunyuan)"),
    _model("attn_output_gate", FLAG, "a gate beside the queries weighs every element of the attention's output (Qwen3-Next)"),
    _model("use_head_wise_attn_gate", FLAG, "a gate beside the queries weighs every head of the attention's output (Step-3.5)"),
    _model("mamba_num_heads", COUNT, "Mamba-2: heads, each with a state", "mamba_n_heads", "n_mamba_heads"),
    _model("mamba_head_dim", COUNT, "Mamba-2: channels of a head; auto: mamba_expand x hidden_size over the heads", "mamba_d_head", "mamba_headdim"),
    _model("mamba_n_groups", COUNT, "Mamba-2: groups of heads that share B and C", "n_groups", "mamba_ngroups"),
    _model("ssm_state_size", COUNT, "numbers of state of a channel", "mamba_d_state"),
    _model("mamba_d_conv", COUNT, "tokens that the convolution sees", "conv_kernel"),
    _model("mamba_conv_bias", FLAG, "a bias of the convolution", "use_conv_bias"),
    _model("mamba_proj_bias", FLAG, "biases of the mixer's projections"),
    _model("projectors_bias", FLAG, "a bias of the mixer's output projection (Falcon-H1)"),
    _model("mamba_chunk_size", COUNT, "Mamba-2: tokens that a kernel takes at once", "chunk_size"),
    _model("mamba_expand", COUNT, "channels over hidden_size", "expand"),
    _model("mamba_d_ssm", COUNT, "Mamba-2: channels of all heads (Falcon-H1)"),
    _model("mamba_rms_norm", FLAG, "Mamba-2: a norm of the output with its gate"),
    _model("mamba_dt_rank", COUNT, "Mamba-1: rank of the time steps; auto: hidden_size / 16"),
    _model("mamba_inner_norms", FLAG, "Mamba-1: norms of time steps, B and C (Jamba)"),
    _model("num_kv_shared_layers", COUNT, "last layers that read the keys and values of an earlier one (Gemma 3n, Gemma 4)", least=0),
    _model("global_head_dim", COUNT, "width of a head of full layers (Gemma 4)"),
    _model("num_global_key_value_heads", COUNT, "heads of keys and values of full layers whose values are their keys (Gemma 4)"),
    _model("attention_k_eq_v", FLAG, "values of full layers are their keys, before norm and rotation (Gemma 4)"),
    _model("hidden_size_per_layer_input", COUNT, "width of a per-layer embedding, 0 for none (Gemma 3n, Gemma 4)", least=0),
    _model("vocab_size_per_layer_input", COUNT, "rows of the per-layer table"),
    _model("enable_moe_block", FLAG, "experts beside the dense FFN of every layer (Gemma 4)"),
    _model("use_double_wide_mlp", FLAG, "layers that read another's keys and values have an FFN of twice the width (Gemma 4)"),
    _model("altup_num_inputs", COUNT, "residual streams (Gemma 3n)"),
    _model("laurel_rank", COUNT, "rank of the residual beside attention (Gemma 3n)"),
    _model("num_mem_blocks", COUNT, "transformer blocks that hybrid layers take turns to share (Zamba2)"),
    _model("use_shared_attention_adapter", FLAG, "adapters of queries, keys and values of each use of a shared block (Zamba2)"),
    _model("adapter_rank", COUNT, "rank of the adapters of each use of a shared block (Zamba2)"),
    _model("num_hash_layers", COUNT, "leading layers whose tokens are sent to experts by a hash (DeepSeek-V4)", least=0),
    _model("expert_dtype", FORMAT, "format of routed experts, where quantization_config says another (DeepSeek-V4: fp4, with a scale for 32)"),
    _model("moe_latent_size", COUNT, "width in which routed experts work, between two projections of their own (Nemotron-3, Kimi-K3)", "routed_expert_hidden_size"),
    _model("latent_moe_use_norm", FLAG, "a norm of what routed experts put out in that width (Kimi-K3)"),
    _model("mamba_ssm_dtype", FORMAT, "format of recurrent states", "mamba_ssm_cache_dtype"),
    _model("num_nextn_predict_layers", COUNT, "modules of multi-token prediction", "mtp_num_hidden_layers", "num_mtp_layers", least=0),
    _model("num_mtp_modules", COUNT, "the same where the checkpoint leaves their weights out", least=0),
    _model("torch_dtype", FORMAT, "format of stored weights", "dtype"),
    _model("hidden_act", NAME, "activation of the FFN", "hidden_activation", "activation_function", "activation"),
    _model("quantization_config", TABLE, "formats of quantised weights", "quantization", "compression_config"),
    _model("vision_config", TABLE, "a tower for images, loaded beside the model"),
    _model("audio_config", TABLE, "a tower for sounds, loaded beside the model"),
    _model("wrapper_model_type", NAME, "model_type of the multimodal class around the language model, in a config on one level"),
    _model("assume_llama", FLAG, "a model_type that is not known is read as Llama's, also where its keys do not prove it"),
    _model("word_embed_proj_dim", COUNT, "width of the embedding; other than hidden_size is not modelled"),
)  # fmt: skip

# Of the model, beside its config: swaps and what they hold equal (`model/swaps.py`).
SWAPS = (
    Setting("model", "attention", NAME, "a swap: every layer gets mha, gqa:8, mqa, mla, mla:512, mfa, mfa:2048 or swa:4096; what it chooses is printed", "the config's"),
    Setting("model", "ffn", NAME, "a swap: every layer gets dense, or moe:E/k/shared/width, as in moe:256/8/1/2048", "the config's"),
    Setting("model", "iso", NAME, "what a swap holds equal, by one width: params, active, flops, or loss:1T (by scaling laws, on so many training tokens), by the width of the FFN or of experts; kv by KV heads or the rank of a latent", "active where the FFN's width is open"),
)  # fmt: skip


def of_swaps() -> tuple[str, ...]:
    """Keys of the model that ask for a swap, beside its config's."""
    return tuple(one.key for one in SWAPS)


EVERY = (*MODEL, *SWAPS, *PLAN, *TRAINING, *PHASE, *ENGINE, *HW)


@cache
def of(root: str) -> dict[str, Setting]:
    """The settings of a root by key."""
    return {one.key: one for one in EVERY if one.root == root}


@cache
def spelled(root: str) -> dict[str, str]:
    """The key of every spelling: keys themselves and their aliases."""
    return {name: one.key for one in EVERY if one.root == root for name in (one.key, *one.aliases)}


def of_step(decode: bool) -> list[str]:
    """Keys of a step that decode, or prefill, takes."""
    step = STEPS[not decode]
    return [one.key for one in PHASE if step in one.steps]


def of_training() -> list[str]:
    """Keys of a step that training takes."""
    return [one.key for one in PHASE if "train" in one.steps]


COUNTS = tuple(one.key for one in PLAN if one.kind == COUNT)
CHOICES = {one.key: one.choices for one in PLAN if one.kind == CHOICE}


def checked(one: Setting, value: Any, path: str) -> Any:
    """A value of a plan or step as its kind: a count as float, a word. Raises SpecError naming the path, the value and what is allowed.
    Formats and routings are read where they are used."""
    if one.kind in WHOLE:
        return count(path, value, one.least)
    if one.kind == FACTOR:
        return _factor(path, value)
    if one.kind == CHOICE:
        return _choice(one, value, path)
    if value is not None and not isinstance(value, str):
        raise SpecError(f"{path} must be a name, not {value!r}")
    return value


def count(path: str, value: Any, least: int = 1) -> float:
    """A whole number. Raises SpecError naming the path."""
    ok = not isinstance(value, bool) and isinstance(value, (int, float)) and value == value and abs(value) != math.inf
    if not ok or value != int(value):
        raise SpecError(f"{path} must be a whole number, not {value!r}")
    if not least <= value <= LARGEST:
        raise SpecError(f"{path} = {int(value)} is outside {least} to {LARGEST:,}")
    return float(value)


def _factor(path: str, value: Any) -> float | None:
    if value in (None, "none"):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1000:
        raise SpecError(f"{path} must be a number above 0 and at most 1000, or none, not {value!r}")
    return float(value)


def _choice(one: Setting, value: Any, path: str) -> str:
    """One of the named alternatives; true and false stand for on and off."""
    text = ("off", "on")[value] if isinstance(value, bool) else value.lower() if isinstance(value, str) else value
    if text not in one.choices:
        raise SpecError(f"{path} must be one of {one.takes}, not {value!r}{nearest(str(value), one.choices)}")
    return str(text)


def groups(named: Iterable[str]) -> list[str]:
    """The roots that are named, all where none is. Raises SpecError for one that is none."""
    found = list(dict.fromkeys(named))
    for root in found:
        if root not in ROOTS:
            raise SpecError(f"unknown group of keys '{root}' (one of {', '.join(ROOTS)}){nearest(root, ROOTS)}")
    return found or list(ROOTS)


def schema(roots: Iterable[str] = ROOTS) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a file of settings: a table a root. Keys of a config that are not listed are allowed, others are not."""
    tables = {
        root: {
            "type": "object",
            "additionalProperties": root in ("model", "hw"),
            "properties": {one.key: _property(one) for one in of(root).values() if "<" not in one.key},
        }
        for root in roots
    }
    if set(roots) == set(ROOTS):
        tables[STACK] = {"type": "object", "description": "flags of a training stack, which simcost train takes"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "simcost settings",
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
    }


def _property(one: Setting) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        COUNT: {"type": "integer", "minimum": one.least},
        LENGTH: {"type": ["integer", "string"], "minimum": one.least},
        FACTOR: {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1000},
        CHOICE: {"enum": list(one.choices)},
        FLAG: {"type": "boolean"},
        LIST: {"type": ["array", "integer"]},
        TABLE: {"type": "object"},
        "fraction": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    }
    quantity = {"type": ["string", "number"]} if one.root == "hw" else {"type": "string"}
    return {**kinds.get(one.kind, quantity), "description": one.meaning}
