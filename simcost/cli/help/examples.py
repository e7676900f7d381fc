"""Two examples of every command, as its --help prints them. tests/cli/test_help.py runs those that take seconds and parses the others."""

from __future__ import annotations

_70B, _8B = "--model llama-3.1-70b", "--model llama-3.1-8b"
_V3 = "--model deepseek-v3 --hw h200 --tp 8"

EXAMPLES: dict[str, tuple[str, str]] = {
    "": (f"decode {_V3} --batch 64", f"plans {_70B} --hw h100,h200 --gpus 8"),
    "decode": (f"decode {_V3} --batch 64 --context 8k", f"decode {_8B} --hw h200 --vary batch=1,8,64 -o tpot.csv"),
    "prefill": (f"prefill {_8B} --hw h200 --isl 32k", f"prefill {_V3} --vary isl=1k,8k,64k"),
    "explain": (f"explain {_V3} --batch 64 --top 10", f"explain {_V3} --batch 64 --op experts"),
    "compare": ("compare llama-3.1-8b qwen3-8b --hw h200", "compare llama-3.1-8b --variant attention=mla --hw h200 --context 128k"),
    "plans": (f"plans {_70B} --hw h100,h200 --gpus 8 --tpot 30ms", f"plans {_70B} --hw h200 --gpus 1,2,4,8 --metric usd"),
    "crossover": (f"crossover {_8B}", "crossover --model deepseek-v3 --hw b200"),
    "sensitivity": (f"sensitivity {_8B} --hw h200", f"sensitivity {_8B} --hw h200 --only model"),
    "sweep": (f"sweep {_8B} --hw h200 --vary batch=1,8,64 --vary context=4k,32k", f"sweep {_8B} --vary hw=h100,h200 --vary plan.tp=1,2,4 --pareto tpot,usd -o map.csv"),
    "schedule": ("schedule 1f1b zb-h1 --pp 4 --microbatches 8 --forward 12ms", "schedule gpipe --pp 4 --microbatches 8 --forward 12ms --backward 14ms --weight 10ms"),
    "train": (f"train {_8B} --hw h200 --gpus 64 --tokens 1T", f"train {_70B} --hw h200 --gpus 256 --tp 8 --pp 4 --no-levers"),
    "serve": (f"serve {_8B} --hw h200 --isl 1024 --osl 256 --concurrency 32", f"serve {_8B} --hw h200 --isl lognormal:1024:0.8 --osl 256 --rate 10/s --events --requests 100"),
    "recipe": ("recipe deepseek-v3", "recipe deepseek-r1-zero --no-ranges --timeline recipe.svg"),
    "rl": ("rl --model qwen3-8b --hw h200 --gpus 8 --prompts 64 --samples 8 --isl 512 --osl 2000 --no-levers", "rl --model qwen3-8b --hw h200 --gpus 8 --prompts 64 --samples 8 --isl 512 --osl lognormal:2000:0.7 --max-osl 8k --algorithm dapo --kept 0.6 --no-levers"),
    "think": ("think --model qwen3-8b --hw h200 --isl 512 --osl lognormal:8000:0.6 --budget 1k,8k --concurrency 16", "think --model qwen3-8b --isl 512 --osl 8k --budget 1k,8k --usd-per-million 0.1:0.4"),
    "distill": (
        "distill --teacher qwen3-32b --student qwen3-8b --hw h200 --gpus 16 --isl 512 --osl 2000 --samples 100000", "distill --teacher qwen3-32b --student qwen3-8b --hw h200 --gpus 16 --isl 512 --osl 2000 --tokens 1B --epochs 2",
    ),
    "loss": ("loss --model llama-3.2-1b --tokens 100B", "loss --training-flops 5.76e23"),
    "diff": ("diff a.json b.json", "diff a.json b.json --format csv"),
    "cite": ("cite a.json --format bibtex", f"cite decode {_V3} --batch 64 -o refs.bib"),
    "keys": ("keys plan", "keys --schema -o settings.json"),
    "list": ("list models", "list hardware --format csv"),
    "list models": ("list models", "list models -o models.csv"),
    "list hardware": ("list hardware", "list hardware --format json"),
    "list engines": ("list engines", "list engines --format csv"),
    "list scaling-laws": ("list scaling-laws", "list scaling-laws --format csv"),
    "show": ("show model deepseek-v3", f"show memory {_8B.removeprefix('--model ')} --hw h200"),
    "show model": ("show model deepseek-v3", "show model llama-3.1-8b --set model.attention=mla"),
    "show hardware": ("show hardware h200", "show hardware mi300x --format csv"),
    "show memory": ("show memory llama-3.1-8b --hw h200 --batch 32 --context 8k", "show memory deepseek-v3 --hw h200 --tp 8 --engine vllm"),
    "show scaling-law": ("show scaling-law besiroglu-2024", "show scaling-law krajewski-2024 --format json"),
    "calibrate": ("calibrate doctor h200 --family collective", "calibrate report h200"),
    "calibrate report": ("calibrate report h200 --family gemm", "calibrate report h200 -o report.md"),
    "calibrate doctor": ("calibrate doctor h200 --family collective", "calibrate doctor rows.csv --family gemm --hw h200"),
    "calibrate transfer": ("calibrate transfer gb200 --from b200", "calibrate transfer"),
    "calibrate run": ("calibrate run --device cuda --mode quick -o my-gpu", "calibrate run --device cuda --model llama-3.1-8b --budget 30m --resume -o my-gpu"),
    "calibrate memory": ("calibrate memory vllm.log --hw h100", "calibrate memory sglang.log --hw h200 --model llama-3.1-8b --details"),
    "calibrate import": ("calibrate import csv rows.csv --family gemm --hw h200 --run mine/measurements/first --title 'my GEMMs' --source 'nsys, 2026-11'", "calibrate import aiconfigurator --system h200_sxm --into profiles"),
    "calibrate import csv": (
        "calibrate import csv rows.csv --family gemm --hw h200 --run mine/measurements/first --title 'my GEMMs' --source 'nsys, 2026-11'", "calibrate import csv rows.csv --family gemm --hw h200 --run mine/measurements/thin --title 'my GEMMs' --source 'nsys, 2026-11' --rows 200",
    ),
    "calibrate import aiconfigurator": ("calibrate import aiconfigurator --system h200_sxm --into profiles", "calibrate import aiconfigurator --into profiles -o verdicts.csv"),
    "validate": ("validate kernels h800", "validate memory"),
    "validate blocks": ("validate blocks --hw h200 --device cuda", "validate blocks --hw my-cpu --model llama-3.1-8b --dtype fp32 --budget 8m"),
    "validate kernels": ("validate kernels h800", "validate kernels -o kernels.csv"),
    "validate memory": ("validate memory", "validate memory logs.csv --format csv"),
    "validate training": ("validate training bloom", "validate training -o training.csv"),
    "validate serving": ("validate serving bench.json --model llama-3.1-8b --hw h200", "validate serving --no-sample -o published.csv"),
    "trace": ("trace step.json.gz --model llama-3.1-8b --hw h200 --tp 2 --batch 64 --context 4k", "trace train.json.gz --model llama-3-8b --hw h100 --phase train --gpus 8 --tp 2 --seq 8k"),
    "schema": ("schema result -o result.schema.json", "schema plan"),
    "validate recipes": ("validate recipes", "validate recipes -o recipes.csv"),
}  # fmt: skip
SUBJECTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("One step", ("decode", "prefill", "explain")),
    ("Designs and plans", ("compare", "plans", "sweep", "sensitivity", "crossover")),
    ("Serving and training", ("serve", "think", "train", "schedule", "rl", "distill", "recipe", "loss")),
    ("Saved results", ("diff", "cite")),
    ("What ships and what can be set", ("list", "show", "keys", "schema")),
    ("Measurements", ("calibrate", "validate", "trace")),
)  # of the commands of `simcost --help`; others stand below
