"""The formulas of published laws. Every input may be an array; logarithms are written out, for papers differ in their base.

Sources: additive arXiv 2203.15556, nested 2001.08361, granular 2402.07871, routed 2202.01169, sparse 2501.12370, joint 2502.05172, leverage
2507.17702; allocation 2401.02954 and 2407.21783.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from simcost.num import Num, plain

Values = Mapping[str, float]
Inputs = Mapping[str, Num]


class Form(NamedTuple):
    """A formula: the coefficients that it has, those that may be missing, the variables that it reads, and what it gives."""

    coefficients: tuple[str, ...]
    inputs: tuple[str, ...]
    gives: Callable[[Values, Inputs], Num]
    optional: tuple[str, ...] = ()


def additive(c: Values, x: Inputs) -> Num:
    """E + A / N^alpha + B / D^beta. [nats per token]"""
    return c["E"] + c["A"] * x["params"] ** -c["alpha"] + c["B"] * x["tokens"] ** -c["beta"]


def nested(c: Values, x: Inputs) -> Num:
    """((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D. [nats per token]"""
    size = (c["N_c"] / x["params"]) ** (c["alpha_N"] / c["alpha_D"])
    return plain((size + c["D_c"] / x["tokens"]) ** c["alpha_D"])


def granular(c: Values, x: Inputs) -> Num:
    """c + (g / G^gamma + a) / N^alpha + b / D^beta. [nats per token]"""
    size = (c["g"] * x["granularity"] ** -c["gamma"] + c["a"]) * x["params"] ** -c["alpha"]
    return c["c"] + size + c["b"] * x["tokens"] ** -c["beta"]


def saturating(count: Num, start: float, most: float, least: float = 1.0) -> Num:
    """A count that starts at `start` where it is `least`, and ends at `most`: 1 / (1 / (n - least + 1 / (1/start - 1/most)) + 1/most)."""
    return 1.0 / (1.0 / (count - least + 1.0 / (1.0 / start - 1.0 / most)) + 1.0 / most)


def routed(c: Values, x: Inputs) -> Num:
    """10^(a log N + b log E' + c log N log E' + d), logarithms to base 10, E' the saturating number of experts. [nats per token]"""
    size = np.log10(x["params"])
    experts = np.log10(saturating(x["experts"], c["E_start"], c["E_max"]))
    return plain(10.0 ** (c["a"] * size + c["b"] * experts + c["c"] * size * experts + c["d"]))


def sparse(c: Values, x: Inputs) -> Num:
    """a / N^alpha + b / D^beta + c / (1-S)^lambda + d / ((1-S)^delta N^gamma) + e. [nats per token]"""
    used = 1.0 - x["sparsity"]
    size = c["a"] * x["params"] ** -c["alpha"] + c["d"] * used ** -c["delta"] * x["params"] ** -c["gamma"]
    return plain(size + c["b"] * x["tokens"] ** -c["beta"] + c["c"] * used ** -c["lambda"] + c["e"])


def joint(c: Values, x: Inputs) -> Num:
    """a E'^delta N^(alpha + gamma ln E') + b E'^omega D^(beta + zeta ln E') + c, E' the saturating number of experts. [nats per token]"""
    experts = saturating(x["experts"], c["E_start"], c["E_max"])
    log = np.log(experts)
    size = c["a"] * experts ** c["delta"] * x["params"] ** (c["alpha"] + c["gamma"] * log)
    data = c["b"] * experts ** c["omega"] * x["tokens"] ** (c["beta"] + c["zeta"] * log)
    return plain(size + data + c["c"])


def leverage(c: Values, x: Inputs) -> Num:
    """Compute of a dense model over that of a MoE of equal loss: A'^(a + d log10 C + gamma (log2 G)^2 + beta log2 G), A' the saturating activated
    share."""
    share = saturating(x["activation"], c["A_start"], c["A_max"], 0.0)
    fine = np.log2(x["width_granularity"])
    exponent = c["a"] + c["d"] * np.log10(x["training_flops"]) + c["gamma"] * fine**2 + c["beta"] * fine
    return plain(share**exponent)


def allocation(c: Values, x: Inputs) -> Num:
    """Tokens of least loss, tokens_at_unit * C^tokens_exponent, C in the law's unit."""
    return plain(c["tokens_at_unit"] * x["compute_units"] ** c["tokens_exponent"])


FORMS = {
    "additive": Form(("E", "A", "alpha", "B", "beta"), ("params", "tokens"), additive),
    "nested": Form(("alpha_N", "alpha_D", "N_c", "D_c"), ("params", "tokens"), nested),
    "granular": Form(("a", "alpha", "b", "beta", "g", "gamma", "c"), ("params", "tokens", "granularity"), granular),
    "routed": Form(("a", "b", "c", "d", "E_start", "E_max"), ("params", "experts"), routed),
    "sparse": Form(("a", "alpha", "b", "beta", "c", "lambda", "d", "delta", "gamma", "e"), ("params", "tokens", "sparsity"), sparse),
    "joint": Form(
        ("a", "alpha", "delta", "gamma", "b", "beta", "omega", "zeta", "c", "E_start", "E_max"), ("params", "tokens", "experts"), joint
    ),
    "leverage": Form(
        ("a", "d", "gamma", "beta", "A_start", "A_max"), ("activation", "width_granularity", "training_flops"), leverage
    ),
    "allocation": Form(
        ("tokens_at_unit", "tokens_exponent"), ("compute_units",), allocation, ("params_at_unit", "params_exponent")
    ),
}  # fmt: skip
WRITTEN = {
    "additive": "L = E + A/N^alpha + B/D^beta",
    "nested": "L = ((N_c/N)^(alpha_N/alpha_D) + D_c/D)^alpha_D",
    "granular": "L = c + (g/G^gamma + a)/N^alpha + b/D^beta",
    "routed": "log10 L = a log10 N + b log10 E' + c log10 N log10 E' + d, 1/E' = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max",
    "sparse": "L = a/N^alpha + b/D^beta + c/(1-S)^lambda + d/((1-S)^delta N^gamma) + e",
    "joint": "L = a E'^delta N^(alpha + gamma ln E') + b E'^omega D^(beta + zeta ln E') + c",
    "leverage": "C_dense/C_MoE = A'^(a + d log10 C + gamma (log2 G)^2 + beta log2 G)",
    "allocation": "N* = params_at_unit C^params_exponent, D* = tokens_at_unit C^tokens_exponent",
}
