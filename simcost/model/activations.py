"""The activations of an engine's largest step: what stands beside weights and cache when it measures its peak at start-up.

Two moments compete. Inside the widest layer: its own buffers, and four copies of the hidden states (residual, input, output, one in flight).
At the sampler: logits of every sequence and their copies, and the hidden states they came from. The vocabulary is gathered, so it is not divided by tp.
Buffers of experts count in the layer, or at all times where the engine keeps them. Most likely to be wrong: the sampler's copies, which a
release changes by a factor of three. Source: 80 start-up logs (docs/theory/memory.md).
"""

from __future__ import annotations

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.hardware.engine_memory import EngineMemory
from simcost.model.spec import ModelSpec
from simcost.num import Num, maximum, minimum
from simcost.plan import Plan
from simcost.routing.router import Routing

COPIES = 4.0  # of the hidden states inside a layer
HANDED_ON = 2.0  # of them more where a pipeline hands on hidden states and residual


@frozen
class Peak:
    """Bytes of a token: hidden, the hidden states, of which `copies` stand inside a layer; inside, the buffers of the widest layer; experts,
    those of routed experts, of `experts_tokens` rows at most; and of a sequence at the sampler. fixed: inside a layer whatever the rows;
    always: at all times, tables of the sampler and a tower's largest image. stay: whether the experts' are kept."""

    hidden: Num
    copies: Num
    inside: Num
    fixed: Num
    experts: Num
    experts_tokens: Num
    sampled: Num
    always: Num
    stay: bool

    def bytes_of(self, tokens: Num, samples: Num, sampled: Num) -> Num:
        """Peak of a step of `tokens` rows on a rank, of which it samples at most `sampled`; samples: 1 where the rank samples, else 0. [B]"""
        experts = minimum(tokens, self.experts_tokens) * self.experts
        layer = tokens * self.inside + self.fixed
        layer = layer if self.stay else maximum(layer, experts)
        sampler = samples * (minimum(sampled, tokens) * self.sampled + tokens * self.hidden)
        most = maximum(layer + tokens * self.copies * self.hidden, sampler)
        return most + self.always + (experts if self.stay else 0.0)


def peak(
    model: ModelSpec,
    plan: Plan,
    routing: Routing,
    activation: Dtype,
    experts: tuple[Dtype, Dtype],
    engine: EngineMemory,
) -> Peak:
    """The coefficients of a rank's peak. `experts`: the formats in which their weights are stored and rows enter them."""
    stored, entering = experts
    inside: Num = 0.0
    fixed: Num = 0.0
    routed: Num = 0.0
    for _, block in model.blocks():
        inside = maximum(inside, activation.tensor_bytes(block.peak_elements(plan)))
        fixed = maximum(fixed, activation.tensor_bytes(engine.mla_workspace_tokens * block.expanded_elements(plan)))
        wide, rows = block.expert_elements(plan, routing, engine.tokens)
        copy = entering.tensor_bytes(rows) if entering.bits < activation.bits else 0.0
        routed = maximum(routed, activation.tensor_bytes(wide) + copy)
    tables = engine.sequences * model.vocab_size * engine.kept_logit_bytes
    return Peak(
        hidden=activation.tensor_bytes(model.hidden_size),
        copies=COPIES + HANDED_ON * (plan.pp > 1.0),
        inside=inside,
        fixed=fixed,
        experts=routed,
        experts_tokens=engine.experts_tokens,
        sampled=model.vocab_size * (engine.logit_bytes + activation.bits / 8.0) + engine.sequence_bytes,
        always=tables + (engine.tower_bytes if model.has_tower else 0.0),
        stay=engine.experts_stay and stored.name != "mxfp4",  # whose Triton kernels free what they took
    )


def exchange_bytes(model: ModelSpec, plan: Plan, activation: Dtype, low_latency: bool, engine: EngineMemory) -> Num:
    """Buffers of DeepEP's All2All: one for NVLink, and for low latency a slot for every token of a step and expert, twice to send and twice
    to receive (`csrc/config.hpp`, LowLatencyLayout). [B]"""
    experts: Num = 0.0
    for _, block in model.blocks():
        experts = maximum(experts, block.exchanged_experts(plan))
    message = activation.tensor_bytes(model.hidden_size) + _HEADER
    slots = 4.0 * experts * engine.dispatch_tokens * message if low_latency else 0.0
    return slots + engine.exchange_bytes * (experts > 0.0)


_HEADER = 16.0  # bytes


def graph_bytes(layers: Num, experts: bool, engine: EngineMemory) -> Num:
    """CUDA graphs of a rank's layers, in proportion to how many batch sizes are captured. [B]"""
    each = engine.graph_bytes + layers * engine.graph_layer_bytes + (engine.graph_experts_bytes if experts else 0.0)
    return each * captured(engine)


def captured(engine: EngineMemory) -> Num:
    """Batch sizes that are captured, as a share of those up to 512: 1, 2 and 4, then every 8th up to 256 and every 16th above."""
    most = minimum(engine.graph_sequences, 2.0 * engine.sequences)
    return (3.0 + minimum(most, 248.0) / 8.0 + maximum(most - 240.0, 0.0) / 16.0) / _SIZES


_SIZES = 3.0 + 31.0 + 17.0  # up to 512, for which the coefficients were fitted
