"""Launch commands: the text that each engine takes for plans, formats, drafts, nodes and pools, and one line for what
it cannot run."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from simcost.errors import Infeasible, SpecError
from simcost.hardware import engine_options, engines
from simcost.plan import Plan
from simcost.query import make, workload
from simcost.scenarios.serve.emit import Deployment, emit, emit_pools
from simcost.scenarios.serve.emit_from import deployment
from simcost.settings import CHOICES

ENGINES = engines.names()
DENSE = Deployment("meta-llama/Llama-3.1-70B-Instruct", Plan(tp=8.0), 8192, 256, 5120, 0.9)
EXPERTS = Deployment("deepseek-ai/DeepSeek-V3", Plan(tp=1.0, ep=8.0), 4096, 128, 9216, 0.88, experts=256)


def options(engine: str, d: Deployment, node: int = 0) -> dict[str, str | bool]:
    """Option -> its value, read back as a shell reads the line; keys of the file beside them by their path."""
    launch = emit(engine, d).launches[0]
    words = shlex.split(shlex.join(launch.commands[node]))[len(launch.start) :]
    found: dict[str, str | bool] = {}
    for at, word in enumerate(words):
        if word.startswith("--"):
            alone = at + 1 == len(words) or words[at + 1].startswith("--")
            found[word] = True if alone else words[at + 1]
    table = ""
    for line in launch.file[1].splitlines():
        key, _, value = line.strip().partition(": ")
        table = "" if not line.startswith(" ") else table
        if key.endswith(":"):
            table = key[:-1] + "."
        else:
            found[table + key] = {"true": True, "false": False}.get(value, value)
    return found


def test_a_dense_model_on_eight_ranks() -> None:
    said = {engine: emit(engine, DENSE).text.partition("one server of 8 GPUs\n")[2] for engine in ENGINES}
    assert said["vllm"] == (
        "vllm serve meta-llama/Llama-3.1-70B-Instruct \\\n"
        "  --tensor-parallel-size 8 \\\n"
        "  --max-model-len 5120 \\\n"
        "  --max-num-batched-tokens 8192 \\\n"
        "  --max-num-seqs 256 \\\n"
        "  --gpu-memory-utilization 0.9\n"
    )
    assert said["sglang"] == (
        "python3 -m sglang.launch_server \\\n"
        "  --model-path meta-llama/Llama-3.1-70B-Instruct \\\n"
        "  --tp-size 8 \\\n"
        "  --context-length 5120 \\\n"
        "  --chunked-prefill-size 8192 \\\n"
        "  --max-running-requests 256 \\\n"
        "  --mem-fraction-static 0.9\n"
    )
    assert said["trtllm"] == (
        "cat > llm_api_options.yaml <<'END'\n"
        "kv_cache_config:\n"
        "  free_gpu_memory_fraction: 0.9\n"
        "cuda_graph_config:\n"
        "  enable_padding: true\n"
        "  max_batch_size: 256\n"
        "END\n"
        "trtllm-serve meta-llama/Llama-3.1-70B-Instruct \\\n"
        "  --backend pytorch \\\n"
        "  --tp_size 8 \\\n"
        "  --max_batch_size 256 \\\n"
        "  --max_num_tokens 8192 \\\n"
        "  --max_seq_len 5120 \\\n"
        "  --extra_llm_api_options llm_api_options.yaml\n"
    )


def test_data_parallel_attention_and_experts_on_every_rank() -> None:
    found = {engine: options(engine, EXPERTS) for engine in ENGINES}
    ranks = {
        "vllm": {"--tensor-parallel-size": "1", "--data-parallel-size": "8", "--enable-expert-parallel": True},
        "sglang": {"--tp-size": "8", "--attn-dp-size": "8", "--ep-size": "8"},
        "trtllm": {"--tp_size": "8", "enable_attention_dp": True, "--ep_size": "8"},
    }
    for engine, expected in ranks.items():
        assert expected.items() <= found[engine].items(), engine
    # Budgets are of a replica; SGLang divides what it is told by the replicas.
    assert (found["vllm"]["--max-num-batched-tokens"], found["vllm"]["--max-num-seqs"]) == ("4096", "128")
    assert (found["sglang"]["--chunked-prefill-size"], found["sglang"]["--max-running-requests"]) == ("32768", "1024")
    assert (found["trtllm"]["--max_num_tokens"], found["trtllm"]["--max_batch_size"]) == ("4096", "128")


def test_stages_formats_and_the_prefix_cache() -> None:
    d = replace(DENSE, plan=Plan(tp=4.0, pp=2.0), kv="fp8", prefix_cache=False)
    expected = {
        "vllm": {"--pipeline-parallel-size": "2", "--kv-cache-dtype": "fp8", "--no-enable-prefix-caching": True},
        "sglang": {"--pp-size": "2", "--kv-cache-dtype": "fp8_e4m3", "--disable-radix-cache": True},
        "trtllm": {"--pp_size": "2", "kv_cache_config.dtype": "fp8", "kv_cache_config.enable_block_reuse": False},
    }
    for engine, said in expected.items():
        assert said.items() <= options(engine, d).items(), engine
    assert options("vllm", replace(DENSE, weights="fp8_block"))["--quantization"] == "fp8_per_block"
    assert options("sglang", replace(DENSE, weights="fp8"))["--quantization"] == "fp8"
    assert options("vllm", replace(DENSE, state="bf16"))["--mamba-ssm-cache-dtype"] == "bfloat16"
    assert options("trtllm", replace(DENSE, plan=Plan(tp=8.0, cuda_graph="off")))["cuda_graph_config"] == "null"
    assert options("vllm", replace(DENSE, plan=Plan(tp=8.0, cuda_graph="off")))["--enforce-eager"] is True


def test_drafts_of_the_model_s_own_module_and_of_another() -> None:
    own, other = replace(EXPERTS, drafts=3), replace(EXPERTS, drafts=3, draft_model="me/draft of mine")
    assert json.loads(str(options("vllm", own)["--speculative-config"])) == {
        "method": "mtp",
        "num_speculative_tokens": 3,
    }
    found = json.loads(str(options("vllm", other)["--speculative-config"]))
    assert found == {"method": "draft_model", "model": "me/draft of mine", "num_speculative_tokens": 3}
    said = options("sglang", own)
    assert (said["--speculative-algorithm"], said["--speculative-num-steps"]) == ("NEXTN", "3")
    assert (said["--speculative-eagle-topk"], said["--speculative-num-draft-tokens"]) == ("1", "4")
    assert options("sglang", other)["--speculative-draft-model-path"] == "me/draft of mine"
    said = options("trtllm", own)
    assert said["speculative_config.decoding_type"] == "MTP"
    assert said["speculative_config.num_nextn_predict_layers"] == "3"
    assert options("trtllm", other)["speculative_config.speculative_model_dir"] == '"me/draft of mine"'


def test_settings_go_out_by_the_name_they_came_in() -> None:
    asked = {
        "stream_interval": 10,
        "async_scheduling": False,
        "max_num_seqs": 64,
        "version": "0.33.0",
        "host_step": "1ms",
    }
    said = options("vllm", replace(DENSE, settings=asked))
    assert said["--stream-interval"] == "10"
    assert said["--no-async-scheduling"] is True
    assert said["--max-num-seqs"] == "256"  # of the deployment, which holds what was resolved
    assert not emit("vllm", replace(DENSE, settings=asked)).notes
    said = options("sglang", replace(DENSE, settings={"enable_mixed_chunk": True, "disable_overlap_schedule": False}))
    assert said["--enable-mixed-chunk"] is True
    assert "--disable-overlap-schedule" not in said
    said = options("trtllm", replace(DENSE, settings={"capacity_scheduler_policy": "MAX_UTILIZATION"}))
    assert said["scheduler_config.capacity_scheduler_policy"] == "MAX_UTILIZATION"
    older = emit("vllm", replace(DENSE, settings={"version": "0.12"})).notes
    assert older == ("options are those of 0.33.0; engine.version = 0.12 may name others",)


def test_a_server_of_two_nodes() -> None:
    spread = replace(EXPERTS, plan=Plan(tp=1.0, ep=16.0))
    first, second = (options("vllm", spread, node) for node in (0, 1))
    assert (first["--data-parallel-size-local"], first["--data-parallel-address"]) == ("8", "HEAD_ADDRESS")
    assert (second["--data-parallel-start-rank"], second["--headless"]) == ("8", True)
    assert "--headless" not in first
    first, second = (options("sglang", spread, node) for node in (0, 1))
    assert [each["--node-rank"] for each in (first, second)] == ["0", "1"]
    assert {each["--dist-init-addr"] for each in (first, second)} == {"HEAD_ADDRESS:5000"}
    deep = replace(DENSE, plan=Plan(tp=8.0, pp=2.0))
    assert (options("vllm", deep, 1)["--nnodes"], options("vllm", deep, 1)["--master-addr"]) == ("2", "HEAD_ADDRESS")
    words = emit("trtllm", deep).launches[0].commands
    assert len(words) == 1
    assert words[0][:6] == ("srun", "--nodes", "2", "--ntasks", "16", "--ntasks-per-node")
    assert options("trtllm", deep)["--pp_size"] == "2"


def test_pools_and_what_stands_before_them() -> None:
    prefill = replace(DENSE, plan=Plan(tp=4.0, dp=2.0))
    for engine in ENGINES:
        found = emit_pools(engine, prefill, DENSE)
        assert [(launch.title, launch.copies, launch.gpus) for launch in found.launches] == [
            ("prefill", 2, 4),
            ("decode", 1, 8),
        ]
    said = emit_pools("sglang", prefill, DENSE)
    assert said.router[:4] == ("python3", "-m", "sglang_router.launch_router", "--pd-disaggregation")
    pools = "--prefill http://PREFILL_1:30000 --prefill http://PREFILL_2:30000 --decode http://DECODE_1:30000"
    assert " ".join(said.router[4:]) == pools
    modes = [launch.commands[0][launch.commands[0].index("--disaggregation-mode") + 1] for launch in said.launches]
    assert modes == ["prefill", "decode"]
    said = emit_pools("trtllm", prefill, DENSE)
    assert said.router == ("trtllm-serve", "disaggregated", "-c", "disagg_config.yaml")
    assert (
        'context_servers:\n  num_instances: 2\n  urls:\n    - "PREFILL_1:8000"\n    - "PREFILL_2:8000"\n'
        in said.router_file[1]
    )
    assert [launch.file[0] for launch in said.launches] == [
        "prefill_llm_api_options.yaml",
        "decode_llm_api_options.yaml",
    ]
    assert "disable_overlap_scheduler: true" in said.launches[0].file[1]
    said = emit_pools("vllm", prefill, DENSE)
    assert said.router == ()
    assert "NixlConnector" in said.text
    assert said.text.rstrip().splitlines()[-1].startswith("# vLLM ships no router")


@pytest.mark.parametrize("model", ["a path/with 'quotes' and $HOME", "x; rm -rf ~", "`date`", "wörter"])
@pytest.mark.parametrize("engine", ENGINES)
def test_words_are_safe_in_a_shell(engine: str, model: str) -> None:
    found = emit(engine, replace(DENSE, model=model))
    folded = found.text.replace("\\\n", " ")
    line = next(line for line in folded.splitlines() if line.startswith(("vllm", "python3", "trtllm")))
    assert shlex.split(line) == list(found.launches[0].commands[0])
    assert model in shlex.split(line)


@pytest.mark.parametrize(
    ("engine", "change", "said"),
    [
        ("vllm", {"plan": Plan(tp=4.0, cp=2.0)}, r"vLLM 0\.33\.0 has no option for plan\.cp = 2"),
        ("sglang", {"plan": Plan(tp=4.0, pp=2.0, vpp=2.0)}, r"has no option for plan\.vpp = 2"),
        ("trtllm", {"plan": Plan(tp=8.0, overlap="two_batch")}, r"has no option for plan\.overlap = two_batch"),
        ("trtllm", {"plan": Plan(tp=8.0, sequence_parallel="on")}, r"has no option for plan\.sequence_parallel = on"),
        ("vllm", {"plan": Plan(tp=8.0, capacity_factor=1.5)}, r"has no option for plan\.capacity_factor = 1\.5"),
        ("vllm", {"plan": Plan(tp=8.0, mla_form="expanded")}, r"has no option for plan\.mla_form = expanded"),
        (
            "vllm",
            {"plan": Plan(tp=8.0, ep=4.0), "experts": 64},
            "over all 8 ranks of a stage or over none: plan.ep = 4",
        ),
        (
            "sglang",
            {"plan": Plan(tp=8.0, ep=4.0, etp=8.0), "experts": 64},
            r"plan\.ep = 4 and plan\.etp = 8 of 8 ranks",
        ),
        (
            "sglang",
            {"plan": Plan(tp=6.0, ep=6.0), "experts": 64},
            r"64 experts cannot be divided evenly over plan\.ep = 6",
        ),
        ("sglang", {"plan": Plan(tp=8.0, ep=4.0, all_to_all="normal"), "experts": 64}, "for all_to_all=normal"),
        ("trtllm", {"plan": Plan(tp=2.0, dp_attention=4.0), "experts": 64}, "by replicas or by tp, not by both"),
        ("trtllm", {"plan": Plan(tp=8.0, ep=8.0, redundant_experts=8.0), "experts": 64}, "plan.redundant_experts = 8"),
        (
            "vllm",
            {"plan": Plan(tp=1.0, ep=8.0, overlap="two_batch"), "experts": 64},
            "beside all_to_all=low_latency or",
        ),
        ("vllm", {"plan": Plan(tp=12.0)}, "12 GPUs of a server do not fill whole nodes of 8"),
        ("vllm", {"plan": Plan(tp=16.0, dp_attention=2.0), "experts": 64}, "in one node: 16 GPUs of 8"),
        (
            "vllm",
            {"weights": "nvfp4"},
            r"cannot convert weights to nvfp4 while loading \(it can convert to fp8, fp8_block, mxfp8\)",
        ),
        ("trtllm", {"weights": "fp8"}, r"cannot convert weights to fp8 while loading \(it can convert to none\)"),
        ("vllm", {"kv": "int8"}, "cannot convert kv to int8"),
        (
            "trtllm",
            {"chunked": False, "tokens": 4096},
            "prompts are not cut into chunks, and a step takes 4,096 tokens",
        ),
    ],
)
def test_a_plan_that_an_engine_cannot_run_is_one_line(engine: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(Infeasible, match=said) as fault:
        emit(engine, replace(DENSE, **change))
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("engine", "change", "said"),
    [
        (
            "vlm",
            {},
            "a launch command can be written for one of sglang, trtllm, vllm, not for 'vlm'; did you mean 'vllm'",
        ),
        ("torch", {}, "a launch command can be written for one of"),
        ("vllm", {"model": ""}, "model must be a name, a path"),
        ("sglang", {"model": "--help"}, "model must be a name, a path"),
        ("vllm", {"model": "two\nlines"}, "model must be a name, a path"),
        ("vllm", {"share": 1.2}, r"--gpu-memory-utilization must be a number in \(0, 1\]"),
        ("vllm", {"settings": {"stream_interval": "x"}}, "--stream-interval must be a number"),
        ("vllm", {"settings": {"page_size": 16}}, "no option is known for engine.page_size"),
        ("trtllm", {"settings": {"capacity_scheduler_policy": "STATIC_BATCH"}}, "must be one of GUARANTEED_NO_EVICT"),
        ("vllm", {"plan": Plan(tp=np.asarray([1.0, 2.0]))}, "a launch command needs exactly one plan"),
    ],
)
def test_a_value_that_no_option_takes_is_one_line(engine: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        emit(engine, replace(DENSE, **change))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_option_stands_in_the_table(engine: str) -> None:
    takes = engine_options.load(engine).takes
    plans = (
        Plan(tp=8.0),
        Plan(tp=1.0, ep=8.0),
        Plan(tp=4.0, pp=2.0),
        Plan(tp=1.0, ep=16.0),
        Plan(tp=8.0, cuda_graph="off"),
    )
    variants = ({}, {"kv": "fp8", "prefix_cache": False}, {"drafts": 2}, {"drafts": 1, "draft_model": "a/b"})
    seen: set[str] = set()
    for plan, variant in product(plans, variants):
        seen |= set(options(engine, replace(EXPERTS, plan=plan, **variant)))  # type: ignore[arg-type]
    assert len(seen) > 12
    assert seen <= set(takes)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_choice_of_a_plan_is_dropped(engine: str) -> None:
    """A word that differs from its default is said, refused, or stands in the table as what the engine does unasked."""
    o, plain = engine_options.load(engine), options(engine, EXPERTS)
    for name, words in CHOICES.items():
        for word in words:
            plan = replace(EXPERTS.plan, **{name: word})  # type: ignore[arg-type]
            if word == getattr(Plan(), name) or name not in {field.name for field in fields(Plan)}:
                continue
            try:
                found = options(engine, replace(EXPERTS, plan=plan))
            except Infeasible:
                continue
            assert found != plain or o.says["plan"].get(f"{name}={word}") == {}, f"{name}={word}"


def test_a_workload_says_what_its_server_holds() -> None:
    ask = make(
        "llama-3.1-70b", "h100", True, {"batch": 64, "context": 2048}, {"plan.tp": 4, "plan.kv_dtype": "fp8"}, {}, None
    )
    d = deployment("vllm", workload(ask), {}, 2048)
    assert (d.model, d.kv, d.weights, d.experts) == ("meta-llama/Llama-3.1-70B", "fp8", "", 0)
    assert (d.tokens, d.sequences, d.share, d.prefix_cache, d.per_node) == (8192.0, 1024.0, 0.92, True, 8)
    with pytest.raises(SpecError, match="needs its own settings: set engine=sglang"):
        deployment("sglang", workload(ask), {"max_num_seqs": 8}, 2048)
    sets = {"plan.tp": 1, "plan.ep": 8, "plan.weight_dtype": "fp8_block", "engine": "sglang"}
    d = deployment(
        "sglang",
        workload(make("deepseek-v3", "gb200", True, {"batch": 64, "context": 2048}, sets, {}, None)),
        {},
        2048,
        drafts=1,
    )
    assert (d.weights, d.experts, d.sequences, d.per_node) == (
        "",
        256,
        6.0,
        4,
    )  # the checkpoint is in fp8 blocks already
    assert options("sglang", d)["--max-running-requests"] == "48"
