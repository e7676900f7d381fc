"""How uneven a routing is: loads of the busiest expert and rank, and what a token visits, layer by layer where counts say so.

For one operating point of a design with experts. Source: `routing/load.py`, docs/theory/routing.md.
"""

from __future__ import annotations

from simcost.estimate.step import Step
from simcost.plan import Plan
from simcost.result import Row, number
from simcost.routing.load import busiest_expert, busiest_rank, error, most_visited, touched, visited
from simcost.routing.router import Routing, by_layer
from simcost.sharding.shard import Block


def rows(step: Step) -> list[Row]:
    """One row a stack of MoE layers, or one a line of a file of measured counts."""
    w, found = step.workload, []
    for _, layer in w.model.stacks:
        for block in layer:
            if block.router is not None:
                found += [_row(step, block, w.plan, routing, name) for name, routing in _layers(w.view.routing)]
    return found


def _layers(routing: Routing) -> list[tuple[str, Routing]]:
    found = by_layer(routing)
    return [(str(i) if len(found) > 1 else "all", one) for i, one in enumerate(found)]


def _row(step: Step, block: Block, plan: Plan, routing: Routing, layer: str) -> Row:
    w = step.workload
    tokens, router, spare = w.view.all_tokens, block.router, plan.redundant_experts
    held = block.held_experts(plan)
    assert router is not None
    nodes = w.device.nodes(plan.ep, plan.expert_slices)
    return {
        "layer": layer, "routing": str(routing), "tokens": number(tokens),
        "busiest_expert_load": number(busiest_expert(routing, router, tokens, spare)),
        "busiest_rank_load": number(busiest_rank(routing, router, tokens, plan.ep, spare)),
        "experts_touched_per_rank": number(touched(routing, router, tokens, held)), "experts_per_rank": number(held),
        "ranks_visited": number(visited(routing, router, plan.ep, spare)),
        "nodes_visited": number(visited(routing, router, nodes, spare)),
        "busiest_node_tokens": number(most_visited(routing, router, tokens, nodes, spare)),
        "simulation_error": error(routing, router, int(float(plan.ep)), int(float(spare))),
    }  # fmt: skip
