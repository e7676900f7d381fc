"""What a priced design asks of a server: the deployment of a workload, for an engine's launch command.

Most likely to be wrong: the GPUs of one machine, which no profile states; 8 stand here, 4 in a rack of NVL72.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import lower
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.hardware import engine_terms, engines
from simcost.hardware.engine_serving import serving_terms
from simcost.hardware.engines import ANY, title
from simcost.model import load
from simcost.query import Query, model_of, settings_of, workload
from simcost.scenarios.serve.emit import Deployment, emit, emit_pools
from simcost.scenarios.serve.emit_text import Emitted
from simcost.scenarios.serve.question import Asked, policy_of, terms_of
from simcost.scenarios.serve.replica import Bounds, build
from simcost.workload import Workload, about_of

_LONGEST = 0.9999  # share of requests that a server must take
NODE = 8  # HGX and DGX boards, and the servers of AMD's and of PCIe devices
TRAY = 4  # a compute tray of GB200 NVL72 and GB300 NVL72: NVIDIA's data sheets


def deployment(
    engine: str,
    w: Workload,
    settings: Mapping[str, Any],
    length: float,
    checkpoint: str = "",
    prefix_cache: bool | None = None,
    drafts: int = 0,
    draft_checkpoint: str = "",
) -> Deployment:
    """What a server of an engine is to hold for a workload. settings: by the names of the engine that the workload
    asks for; length: tokens of the longest request with its answer; checkpoint: what the engine loads, the model's
    first repository where it is not said; prefix_cache: as the engine's default where it is not said. Raises
    SpecError for settings of another engine, and for a model without a repository."""
    if w.engine not in (engine, ANY) or (settings and w.engine != engine):
        raise SpecError(
            f"a launch command of {title(engine)} needs its own settings: set engine={engine}, not {w.engine}"
        )
    about = about_of(w.model)
    terms = serving_terms(engine, settings, w.device, w.plan, about, drafts > 0)
    memory = engine_terms.terms(engine, settings, w.device, w.plan, about)
    return Deployment(
        model=checkpoint or repository(w.model.name),
        plan=w.plan,
        tokens=float(np.asarray(terms.tokens)),
        sequences=float(np.asarray(terms.sequences)),
        length=length,
        share=float(np.asarray(memory.share)),
        experts=_experts(w),
        prefix_cache=terms.prefix_cache if prefix_cache is None else prefix_cache,
        chunked=terms.chunked,
        drafts=drafts,
        draft_model=draft_checkpoint,
        settings=settings,
        per_node=per_node(w),
        **_formats(w),
    )


def emitted(q: Asked, engine: str) -> Emitted:
    """The launch commands of an engine for a question. Raises SpecError and Infeasible as `serve` does, and for what the engine cannot run."""
    if engines.checked(engine) not in engines.names():
        raise SpecError(f"--emit must be one of {', '.join(engines.names())}, not {engine!r}")
    engine = engines.checked(engine)
    longest = sum(int(np.ceil(float(np.ravel(each.quantile(np.asarray([_LONGEST])))[0]))) for each in (q.isl, q.osl))
    checkpoint = "" if q.draft is None else repository(model_of(q.draft).name)

    def of(query: Query) -> Deployment:
        w = workload(query)
        build(
            w, policy_of(terms_of(w, settings_of(query.overrides), q.drafts > 0)), Bounds(1.0, 1.0, 1.0, 0.0)
        )  # refuses plans that cannot run
        return deployment(
            engine, w, settings_of(query.overrides), longest, "", True if q.hit else None, q.drafts, checkpoint
        )

    if q.pools is None:
        return emit(engine, of(q.query))
    prefill, decode = (
        of(replace(q.query, overrides=q.query.overrides.merged({**pool.sets, "plan.dp": pool.instances})))
        for pool in q.pools
    )
    return emit_pools(engine, prefill, decode)


def repository(name: str) -> str:
    """The first Hugging Face repository that sources.csv lists for a model. Raises SpecError where it lists none."""
    for repo, of in load.repositories().items():
        if of == name:
            return repo
    raise SpecError(f"{name}: no repository is known: replace this with the checkpoint that the engine loads")


def per_node(w: Workload) -> int:
    """GPUs of one machine: a board's, or a tray's in a rack."""
    domain = None if w.device.scaleup is None else w.device.scaleup.domain
    return TRAY if domain is not None and float(np.asarray(domain)) > 2 * NODE else NODE


def _experts(w: Workload) -> int:
    """Routed experts of a layer, the most of any."""
    held = [float(np.asarray(block.router.experts)) for _, block in w.model.blocks() if block.router is not None]
    return int(max(held, default=0.0))


def _formats(w: Workload) -> dict[str, str]:
    """Formats that a plan states and the checkpoint has not."""
    plan, model = w.plan, w.model
    own = lower.storage(model, replace(plan, weight_dtype=None))
    converted = plan.weight_dtype is not None and lower.storage(model, plan) != own
    cached = (model.quantisation and model.quantisation.kv) or dtype("bf16")
    return {
        "weights": dtype(plan.weight_dtype).name if converted and plan.weight_dtype is not None else "",
        "kv": w.view.kv.name if plan.kv_dtype is not None and w.view.kv != cached else "",
        "activation": w.view.activation.name
        if plan.activation_dtype is not None and w.view.activation != model.base
        else "",
        "state": "" if plan.state_dtype is None else dtype(plan.state_dtype).name,
    }
