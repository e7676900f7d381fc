"""Settings of a device."""

from __future__ import annotations

from simcost.settings._setting import FLAG, NAME, Setting


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
    _hw("links.host.bandwidth", "bytes_per_s", "bandwidth of a device's link to the memory of its host, one direction"),
    _hw("power.tdp", "watts", "thermal design power"),
    _hw("price.usd_per_hour", "usd_per_hour", "price of a device for an hour; --price says the same"),
    _hw("price.use", NAME, "which price answers: low, typical, high, a kind (marketplace, reserved_1y), or a file.csv of device,usd_per_hour; --price says the same"),
    _hw("assumed.gemm_efficiency", "fraction", "part of the peak that a GEMM without measured rows reaches"),
    _hw("assumed.attention_efficiency", "fraction", "part of the peak that an attention core without measured rows reaches"),
    _hw("assumed.memory_efficiency", "fraction", "part of the memory's bandwidth that a kernel without measured rows reaches"),
    _hw("assumed.link_efficiency", "fraction", "part of the links' bandwidth that a collective without measured rows reaches"),
    _hw("assumed.scaleout_efficiency", "fraction", "the same of the network"),
    _hw("assumed.host_efficiency", "fraction", "the same of the link to the host"),
    _hw("assumed.kernel_overhead", "seconds", "fixed time of a kernel without measured rows"),
    _hw("assumed.step_overhead", "seconds", "the engine's own time in a step"),
    _hw("assumed.eager_launch", "seconds", "time to launch a kernel from the host, without CUDA graphs"),
    _hw("assumed.collective_latency", "seconds", "fixed time of a collective without measured rows"),
    _hw("assumed.hop_latency", "seconds", "time of one hop inside the domain"),
    _hw("assumed.scaleout_hop_latency", "seconds", "time of one hop over the network"),
    _hw("assumed.power_compute", "fraction", "share of the TDP that a device draws while arithmetic binds; energy alone reads it"),
    _hw("assumed.power_memory", "fraction", "the same while memory binds"),
    _hw("assumed.power_waiting", "fraction", "the same on links and between kernels"),
    _hw("measurements", NAME, "which rows may answer: none, tables (engines' alone), or the name of a run"),
)  # fmt: skip

HABITS = {
    "links.scaleup.domain": ("gpus_per_node", "node_size", "devices_per_node", "scale_up_size", "nvlink_domain"),
    "links.scaleup.bandwidth": ("nvlink_bandwidth", "intra_node_bandwidth", "scale_up_bandwidth"),
    "links.scaleout.bandwidth": ("nic_bandwidth", "network_bandwidth", "inter_node_bandwidth", "ib_bandwidth"),
    "memory.capacity": ("vram", "gpu_memory", "hbm_capacity", "memory_size"),
    "memory.bandwidth": ("hbm_bandwidth", "mem_bandwidth"),
}  # what others call a fact, by its key


def habit(name: str) -> str:
    """A suggestion clause for a name by which others call a fact of a device; "" for any other."""
    plain = name.replace(".", "_").lower()
    return next((f"; did you mean '{key}'?" for key, names in HABITS.items() if plain in names), "")
