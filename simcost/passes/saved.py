"""What a layer keeps from its forward pass for its backward pass, tensor by tensor.

A saved tensor belongs to the edge between two kernels: what two kernels read is kept once, and what one kernel kept as its result is not kept again as the next one's input.
Sums, rotations, casts and cache writes keep nothing; a norm keeps one input; a product keeps its input, in the format in which it enters; an attention core keeps Q, K, V, its output and
the sums of its softmax. Under sequence parallelism a rank keeps its part of the rows and gathers them again. Which kernel reads what follows from the order of the program and the sizes of
tensors. Most likely to be wrong: frameworks that keep a tensor twice, or views that keep a larger one. Sources: Korthikanti et al. (arXiv 2205.05198) §4; docs/theory/activations.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num, every
from simcost.ops.attention_core import AttentionCore
from simcost.ops.collective import Collective
from simcost.ops.gemm import Gemm
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.permute import Permute
from simcost.ops.stream import Operator, Stream
from simcost.ops.work import Op
from simcost.program import Call, Choice, Program, Serial
from simcost.sharding.shard import Block

# Names by which a plan recomputes parts of a layer (Megatron Core, `recompute_modules`; "activation" is its "moe_act" in every FFN).
LAYERNORM, CORE, ACTIVATION, MLA_UP, MLP, MOE, SHARED = (
    "layernorm", "core_attn", "activation", "mla_up_proj", "mlp", "moe", "shared_experts",
)  # fmt: skip
DOWN, UP = "adapter down", "adapter up"  # the two products of an adapter (LoRA)
MODULES = (LAYERNORM, CORE, ACTIVATION, MLA_UP, MLP, MOE, SHARED)


@frozen
class Saved:
    """`bytes` that one rank keeps of a micro-batch in one layer. `what`: for people; `made_by`: modules whose recomputation makes it anew, so that it need not stay; `product`: a product's input, which its weight's gradient
    needs; `experts`: it stands for rows of routed experts."""

    bytes: Num
    what: str
    made_by: tuple[str, ...] = ()
    experts: bool = False
    product: bool = False


@frozen
class Keeping:
    """How a stack keeps tensors. `scores`: bytes of each attention score, of a core that is no FlashAttention (2: the softmax's output; 5 with a dropout mask and what it leaves), in place of the sums of the
    softmax. `core_bits`: of an element of the core's output, of which no other copy stays; None: as it is. `activation`: format in which an FFN keeps the input of its activation; None: as it is."""

    scores: float = 0.0
    core_bits: float | None = None
    activation: Dtype | None = None


AS_THEY_ARE = Keeping()


@dataclass
class _Tensor:
    """`elements` of what a kernel wrote; `parts`: ranks that keep a part each of it (sequence parallelism); `kept`: whether it stays."""

    elements: Num
    parts: Num = 1.0
    made_by: str = ""
    kept: bool = False
    of: _Tensor | None = None  # that it is gathered from, or cast from where no copy stays beside it
    alone: bool = False  # no copy of it in another format stays
    saved: int = -1  # its place among what is found, where a kernel that made it keeps it


@dataclass
class _Walk:
    """The edges of one layer, block by block. `block`: names of the parts that the present call stands in."""

    found: list[Saved] = field(default_factory=list)
    last: _Tensor | None = None
    entry: _Tensor | None = None
    made: list[_Tensor] = field(default_factory=list)
    block: tuple[str, ...] = ()
    expands: bool = False
    keeping: Keeping = AS_THEY_ARE
    frozen: Collection[int] = ()

    def enter(self, module: str) -> None:
        """A block begins: what came before is what it reads."""
        self.entry, self.block, self.made, self.expands = self.last, (module,) if module else (), [], False
        if self.last is not None:
            self.made.append(self.last)

    def put(
        self, elements: Num, made_by: str = "", parts: Num = 1.0, of: _Tensor | None = None, kept: bool = False, alone: bool = False
    ) -> None:  # fmt: skip
        """What a kernel writes becomes what the next one reads. `kept`: it is what was saved last."""
        self.last = _Tensor(elements, parts, made_by, kept, of, alone, len(self.found) - 1 if kept else -1)
        self.made.append(self.last)

    def save(self, bytes_: Num, what: str, made_by: str = "", experts: bool = False) -> None:
        """A rank keeps so many bytes; what enters a block stays even if the block is recomputed."""
        self.found.append(Saved(bytes_, what, tuple(name for name in (made_by, *self.block) if name), experts))

    def reads(self, elements: Num) -> _Tensor:
        """The tensor of this size that a product reads: the last one, else the one made last of those in the block; one of its own where none has the size."""
        for tensor in (self.last, *reversed(self.made)):
            if tensor is not None and every(tensor.elements == elements):
                return tensor
        found = _Tensor(elements)
        self.made.append(found)
        return found

    def keep(self, tensor: _Tensor, bytes_: Num, what: str, experts: bool) -> None:
        """Keeps what a product reads; what stays already, for its weight's gradient too."""
        root = tensor
        while root.of is not None and not root.kept:
            root = root.of
        if root.kept or tensor.kept:
            place = max(root.saved, tensor.saved)
            if place >= 0:
                self.found[place] = replace(self.found[place], product=True)
            return
        tensor.kept = root.kept = True
        inside = self.block if root is not self.entry else ()
        made_by = (root.made_by or tensor.made_by, *inside)
        self.found.append(Saved(bytes_ / tensor.parts, what, tuple(name for name in made_by if name), experts, True))


def saved(
    blocks: Iterable[tuple[str, Program]], keeping: Keeping = AS_THEY_ARE, frozen: Collection[int] = ()
) -> tuple[Saved, ...]:
    """What a layer keeps of a micro-batch, of its blocks' forward programs in running order, each with the name by which a plan recomputes it: LAYERNORM, MLP, MOE or "". A choice counts as its last option. `frozen`: identities of
    products whose weights do not learn, so that no gradient reads their input."""
    walk = _Walk(keeping=keeping, frozen=frozen)
    for module, program in blocks:
        walk.enter("" if module == LAYERNORM else module)
        for call, inside in _calls(program, 1.0, walk):
            _visit(walk, call, inside, module)
    return tuple(walk.found)


def module_of(block: Block) -> str:
    """The name by which a plan recomputes a whole block: LAYERNORM, MOE (an FFN with a router), MLP, or ""."""
    if block.kind == "norm":
        return LAYERNORM
    return "" if block.kind != "ffn" else MLP if block.router is None else MOE


def kept_bytes(found: Sequence[Saved], recomputed: Iterable[str] = ()) -> Num:
    """Bytes that stay where so many modules are recomputed. [B]"""
    names = set(recomputed)
    total: Num = 0.0
    for each in found:
        if not names.intersection(each.made_by):
            total = total + each.bytes
    return total


def _calls(program: Program, repeat: Num, walk: _Walk) -> Iterator[tuple[Call, Num]]:
    """Calls in running order, each with how often it runs; branches of a block start from what entered it."""
    if isinstance(program, Call):
        yield program, repeat * program.repeat
    elif isinstance(program, Choice):
        yield from _calls(program.options[-1][1], repeat, walk)
    elif isinstance(program, Serial) and program.branch:
        after, block = walk.last, walk.block
        walk.last, walk.block = walk.entry, (*block, program.branch)
        for part in program.parts:
            yield from _calls(part, repeat * program.repeat, walk)
        walk.last, walk.block = after, block
    else:
        times = program.repeat if isinstance(program, Serial) else 1.0
        for part in program.parts:
            yield from _calls(part, repeat * times, walk)


def _visit(walk: _Walk, call: Call, repeat: Num, module: str) -> None:
    """What one kernel keeps, and what it hands on."""
    op = call.op
    if call.module in (DOWN, UP):
        _adapter(walk, call, repeat)
    elif isinstance(op, (Gemm, GroupedGemm)):
        _product(walk, op, call, repeat)
    elif isinstance(op, AttentionCore):
        _core(walk, op, repeat)
    elif isinstance(op, Stream):
        _stream(walk, op, call, repeat, module)
    elif isinstance(op, Collective):
        _collective(walk, op)
    else:
        _other(walk, op, call, repeat)


def _product(walk: _Walk, op: Gemm | GroupedGemm, call: Call, repeat: Num) -> None:
    grouped = isinstance(op, GroupedGemm)
    size = op.rows * op.k if isinstance(op, GroupedGemm) else op.batch * op.m * op.k
    if id(call) not in walk.frozen:
        walk.keep(walk.reads(size), op.saved_bytes() * repeat, f"{call.tag} input", grouped)
    walk.expands = walk.expands or call.module == MLA_UP
    walk.put(op.rows * op.n if isinstance(op, GroupedGemm) else op.batch * op.m * op.n, call.module)


def _adapter(walk: _Walk, call: Call, repeat: Num) -> None:
    """It reads what the product that comes next reads, keeps that and its own result of low rank, and adds to what that product puts out."""
    op = call.op
    if not isinstance(op, (Gemm, GroupedGemm)):
        return
    grouped = isinstance(op, GroupedGemm)
    if call.module == UP:
        walk.save(op.saved_bytes() * repeat, f"{call.tag} input", experts=grouped)
        return
    size = op.rows * op.k if isinstance(op, GroupedGemm) else op.batch * op.m * op.k
    walk.keep(walk.reads(size), op.saved_bytes() * repeat, f"{call.tag} input", grouped)


def _core(walk: _Walk, op: AttentionCore, repeat: Num) -> None:
    qkv, o, sums = op.saved_parts()
    walk.save(qkv * repeat, "Q, K, V", MLA_UP if walk.expands else "")
    how = walk.keeping
    if how.scores:
        scores = op.batch * op.heads * op.q_len * (op.past + op.q_len)
        walk.save(how.scores * scores * repeat, "attention scores", CORE)
    else:
        walk.save(sums * repeat, "softmax sums", CORE)
    size = op.batch * op.q_len * op.heads * op.d_v
    walk.save((o if how.core_bits is None else how.core_bits / 8.0 * size) * repeat, "core output")
    walk.put(size, kept=True, alone=how.core_bits is not None)


def _stream(walk: _Walk, op: Stream, call: Call, repeat: Num, module: str) -> None:
    if op.what == "quantise":  # the copy in the narrow format stays in place of the tensor, where only products read it
        source = walk.reads(op.elements)
        walk.put(op.elements, source.made_by, source.parts, source if source.alone else None)
        return
    if isinstance(op, Operator):
        _operator(walk, op, call, repeat, module)
        return
    narrow = walk.keeping.activation
    if op.what == "activation" and module in (MLP, MOE) and narrow is not None:
        walk.save(narrow.tensor_bytes(op.elements * op.saved_tensors) * repeat, f"{call.tag} input")
        walk.put(op.elements, ACTIVATION, kept=True)
        walk.last.alone = True  # type: ignore[union-attr]
        return
    bytes_ = op.saved_bytes() * repeat
    if not (isinstance(bytes_, float) and bytes_ == 0.0):
        bytes_ = bytes_ - _already(walk, op) * repeat
        walk.save(bytes_, f"{call.tag} input")
    made_by = LAYERNORM if module == LAYERNORM else ACTIVATION if op.what == "activation" else ""
    walk.put(op.elements, made_by)


def _operator(walk: _Walk, op: Operator, call: Call, repeat: Num, module: str) -> None:
    made_by = LAYERNORM if module == LAYERNORM else call.module
    if op.stays:
        walk.save(op.elements * op.stays * repeat, f"{call.tag} input")
    if op.makes:
        walk.save(op.elements * op.makes * repeat, f"{call.tag} inside", made_by)
    walk.put(op.elements, made_by)


def _already(walk: _Walk, op: Stream) -> Num:
    """Of what an elementwise kernel reads: the bytes of the tensor before it where that stays already (a gate on the output of a core)."""
    before = walk.last
    if before is None or not before.kept or not every(before.elements == op.elements):
        return 0.0
    return op.x.tensor_bytes(op.elements)


def _collective(walk: _Walk, op: Collective) -> None:
    """A gather makes whole of what every rank keeps a part."""
    before = walk.last
    if op.kind == "all_gather" and before is not None and not every(op.group == 1.0):
        walk.put(before.elements * op.group, before.made_by, op.group * before.parts, before)


def _other(walk: _Walk, op: Op, call: Call, repeat: Num) -> None:
    bytes_ = op.saved_bytes() * repeat
    if isinstance(op, Permute):  # its rows are kept as the experts' input
        rows = op.tokens if op.combine else op.copies
        walk.put(rows * op.width)
        return
    if not (isinstance(bytes_, float) and bytes_ == 0.0):
        walk.save(bytes_, f"{call.tag} input")
