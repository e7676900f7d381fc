"""One step of reinforcement learning as pure arithmetic: rollout, rewards, packing, phases, weight transfer, routing
replay."""
