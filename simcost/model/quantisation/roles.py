"""From formats of modules to one format a role, whose bytes are exact: where its modules differ, the bits of an element are their mean.

Where modules of a role differ, the elements of each format are kept layer by layer, and each part is timed in its own. Most likely to be wrong: matrices of one layer that
differ, of which each is timed by the layer's shares, and the bytes of a pipeline stage whose layers are not like the others. Source: arithmetic; every module counts with its own scales (`dtypes.matrix_bytes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from simcost.dtypes import Dtype
from simcost.errors import NotModelled
from simcost.model.quantisation.formats import Format, Scheme, one_line, refused
from simcost.model.quantisation.modules import Names, experts_apart, parts, without_gates
from simcost.model.quantisation.patterns import Refused
from simcost.model.quantisation.stored import Held, Part, Stored
from simcost.num import ceil, is_scalar
from simcost.provenance import Kind, Note
from simcost.sharding.shard import Weight

Cell = tuple[Weight, Format | None, int]  # a matrix, its format (None: the base), in how many layers


def by_role(
    scheme: Scheme, excepted: Iterable[str], held: Held, base: Dtype, where: str
) -> tuple[dict[str, Stored], list[Note]]:
    """The formats of the roles that a scheme converts, with notes on roles whose modules differ and on exceptions that are not known. `excepted`: names that stay in
    the base format, whatever the rules say."""
    held = without_gates(held)
    names, strange = Names(held), []
    chosen: dict[tuple[str, str, str, int], Format | None] = {}
    for role in scheme.roles:
        for layer, weights in held.get(role, {}).items():
            chosen |= {(role, w.name, part, layer): scheme.of(role) for w in weights for part in parts(w)}
    rules = [*reversed(scheme.rules), *((name, None) for name in dict.fromkeys(excepted))]
    apart = experts_apart(rules, held)
    if apart is not None:
        raise refused(where, f"quantization_config: single experts in a format of their own ({apart[:80]})")
    for pattern, form in rules:
        try:
            fitting = list(names.fits(pattern))
            known = bool(fitting) or names.outside(pattern)
        except Refused as error:
            raise refused(where, f"quantization_config: {error}") from None
        chosen |= {(*part, layer): form for part, layers in fitting for layer in layers}
        if known:
            continue
        if form is not None and not pattern.startswith("re:"):
            raise refused(where, f"quantization_config: a format for {pattern[:80]!r}, an unknown module")
        strange.append(pattern)
    found: dict[str, Stored] = {}
    notes: list[Note] = []
    for role in scheme.roles:
        form = scheme.of(role)
        if not held.get(role) and form is not None:
            found[role] = Stored(form.dtype, form.compute)
    for role, layers in held.items():
        cells = _cells(role, layers, chosen, where)
        if any(form is not None for _, form, _ in cells):
            found[role], said = _stored(role, cells, base, where)
            if said:
                found[role] = replace(found[role], parts=tuple(_by_layer(role, layers, chosen, base)))
            notes += said
    if strange:
        shown = ", ".join(one_line(name) for name in strange[:3]) + (
            f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        )
        notes.append(
            Note(
                f"quantization_config: unknown modules, which count as the others of their kind: {shown}",
                Kind.ASSUMED,
            )
        )
    return found, notes


def _cells(
    role: str,
    layers: Mapping[int, tuple[Weight, ...]],
    chosen: Mapping[tuple[str, str, str, int], Format | None],
    where: str,
) -> list[Cell]:
    """The matrices of a role with their formats, equal layers together. Raises NotModelled where parts of one matrix differ."""
    found: dict[tuple[int, Format | None], Cell] = {}
    for layer, weights in layers.items():
        for weight in weights:
            forms = [chosen.get((role, weight.name, part, layer)) for part in parts(weight)]
            if any(form != forms[0] for form in forms):
                raise refused(
                    where,
                    f"quantization_config: {' and '.join(parts(weight))} of layer {layer} in different formats, which engines hold as one matrix",
                )
            key = id(weight), forms[0]
            found[key] = weight, forms[0], 1 + (found[key][2] if key in found else 0)
    return [*found.values()]


def _by_layer(
    role: str,
    layers: Mapping[int, tuple[Weight, ...]],
    chosen: Mapping[tuple[str, str, str, int], Format | None],
    base: Dtype,
) -> Iterator[tuple[int, tuple[Part, ...]]]:
    """The elements of every format in each layer of a role."""
    for layer, weights in layers.items():
        forms = [(w, chosen.get((role, w.name, parts(w)[0], layer))) for w in weights]
        held = (
            (each, sum(float(w.count) for w, form in forms if form == each)) for each in _distinct(f for _, f in forms)
        )
        yield (
            layer,
            tuple(Part(n, base, None) if each is None else Part(n, each.dtype, each.compute) for each, n in held),
        )


def _stored(role: str, cells: list[Cell], base: Dtype, where: str) -> tuple[Stored, list[Note]]:
    forms = list(_distinct(form for _, form, _ in cells))
    first = forms[0]
    if len(forms) == 1 and first is not None and not first.once and not first.column:
        return Stored(first.dtype, first.compute), []
    if not all(is_scalar(w.count) for w, _, _ in cells):
        raise NotModelled(
            f"{where}: not modelled yet: a quantization_config whose formats differ by module, or that stores codebooks, over several widths"
        )
    share = {i: sum(float(w.count) * n for w, form, n in cells if form == each) for i, each in enumerate(forms)}
    elements = sum(share.values())
    most = forms[max(share, key=share.__getitem__)]
    main = base if most is None else most.dtype
    scales = sum(n * w.copies * _scale_bits(w, main) for w, _, n in cells)
    mean = (sum(n * _bits(w, form, base) for w, form, n in cells) - scales) / elements
    stored = Stored(replace(main, bits=float(mean)), None if most is None else most.compute)
    if len(forms) == 1:
        return stored, []
    listed = ", ".join(f"{share[i] / elements:.1%} in {_shown(each, base)}" for i, each in enumerate(forms))
    return stored, [
        Note(
            f"quantization_config: {role.replace('_', ' ')}: {listed}: bytes are exact, each part is timed in its own",
            Kind.ASSUMED,
        )
    ]


def _distinct(forms: Iterable[Format | None]) -> Iterator[Format | None]:
    seen: list[Format | None] = []
    for form in forms:
        if form not in seen:
            seen.append(form)
            yield form


def _shown(form: Format | None, base: Dtype) -> str:
    return base.name if form is None else form.dtype.name


def _bits(weight: Weight, form: Format | None, base: Dtype) -> float:
    """Bits of all copies of a matrix."""
    assert weight.inner is not None
    if form is None:
        return float(weight.count * base.bits)
    beside = len(parts(weight)) * (form.once + form.column * weight.inner)
    return float(weight.copies * (8.0 * form.dtype.matrix_bytes(weight.out, weight.inner) + beside))


def _scale_bits(weight: Weight, kind: Dtype) -> float:
    if not kind.scale_bits or weight.inner is None:
        return 0.0
    return float(ceil(weight.out / kind.block[0]) * ceil(weight.inner / kind.block[1]) * kind.scale_bits)
