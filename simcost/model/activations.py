"""The activations of an engine's largest step: what stands beside weights and cache when it measures its peak at start-up.

Two moments compete. Inside the widest layer: its own buffers, and four copies of the hidden states (residual, input, output, one in flight).
At the sampler: logits of every sequence and their copies, and the hidden states they came from. The vocabulary is gathered, so it is not divided by tp.
Buffers of experts count in the layer, or at all times where the engine keeps them. Most likely to be wrong: the sampler's copies, which a
release changes by a factor of three. Source: 80 start-up logs (docs/theory/memory.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from simcost.dtypes import Dtype
from simcost.hardware.engine_memory import EngineMemory
from simcost.model.spec import ModelSpec
from simcost.num import Num, maximum, minimum
from simcost.plan import Plan
from simcost.routing import Routing

COPIES = 4.0  # of the hidden states inside a layer


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes of a token: hidden, the hidden states; inside, the buffers of the widest layer; experts, those of routed experts; and of a
    sequence at the sampler; tower: of a vision tower's largest image. stay: whether the experts' are kept; sequences: the most that are sampled at once."""

    hidden: Num
    inside: Num
    experts: Num
    sampled: Num
    tower: Num
    stay: bool
    sequences: Num

    def bytes_of(self, tokens: Num, samples: Num) -> Num:
        """Peak of a step of `tokens` rows on a rank; samples: 1 where the rank samples, else 0. [B]"""
        layer = self.inside if self.stay else maximum(self.inside, self.experts)
        sampler = samples * (minimum(self.sequences, tokens) * self.sampled + tokens * self.hidden)
        most = maximum(tokens * (layer + COPIES * self.hidden), sampler)
        return most + self.tower + (tokens * self.experts if self.stay else 0.0)


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
    routed: Num = 0.0
    for _, block in model.blocks():
        inside = maximum(inside, activation.tensor_bytes(block.peak_elements(plan)))
        wide, rows = block.expert_elements(plan, routing, engine.tokens)
        copy = entering.tensor_bytes(rows) if entering.bits < activation.bits else 0.0
        routed = maximum(routed, activation.tensor_bytes(wide) + copy)
    sampled = model.vocab_size * (engine.logit_bytes + activation.bits / 8.0) + engine.sequence_bytes
    extra = engine.tower_bytes if model.tower else 0.0
    stay = engine.experts_stay and stored.name != "mxfp4"  # whose Triton kernels free what they took
    return Peak(activation.tensor_bytes(model.hidden_size), inside, routed, sampled, extra, stay, engine.sequences)


def exchange_bytes(model: ModelSpec, plan: Plan, activation: Dtype, engine: EngineMemory) -> Num:
    """Buffers of the low-latency All2All, a slot for every token of a step and expert, twice to send and twice to receive (DeepEP
    `csrc/config.hpp`, LowLatencyLayout). [B]"""
    experts: Num = 0.0
    for _, block in model.blocks():
        experts = maximum(experts, block.exchanged_experts(plan))
    message = activation.tensor_bytes(model.hidden_size) + _HEADER
    return 4.0 * experts * engine.dispatch_tokens * message


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
