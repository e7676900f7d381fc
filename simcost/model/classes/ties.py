"""Whether the head of a multimodal class shares the embedding's weights, where the class and its language model say it differently.

Most hold the head themselves and read their own key; some also take the language model's, which old files state there; in some the language model holds
the head; transformers 4 reads the language model's in all of them, and a file says which version wrote it. A file of version 5 leaves out what its class
defaults. Most likely to be wrong: a checkpoint's own code. Sources: the classes of transformers 5.24.0 on the meta device, with each of the four pairs of values
(classes.toml has the defaults); transformers 4.57 (`get_text_config(decoder=True).tie_word_embeddings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import NotModelled
from simcost.hf import MODELS, TIES, WRAPPER, WRAPPER_TIES
from simcost.model.classes.family import ties_outside

_OWN = frozenset(
    """
    apertus1p5 aria cohere2_vision cosmos3_omni deepseek_vl deepseek_vl_hybrid dots3_note ernie4_5_vl_moe exaone4_5 fun_asr_nano fuyu gemma3 gemma4
    gemma4_unified glm46v glm5_next glmasr glmga got_ocr2 granite_docling granite_speech granite_speech_plus hy_v4_vl hyperclovax_vision_v2 idefics2
    idefics3 internvl janus kimi_k25 lfm2_vl lfm3_vl lighton_ocr llava_next minicpm_ocr minicpmv4_6 minicpmv4_7 mistral3 mistral_large4
    moss_transcribe_diarize muse_glimmer ovis2 paligemma pp_chart2table qianfan_ocr qwen2_5_omni_thinker qwen3_5 qwen3_5_moe qwen3_asr
    qwen3_omni_moe_thinker qwen3_vl qwen3_vl_moe qwen4_exp smolvlm step3p7 unlimited_ocr video_llava vipllava voxtral_realtime
    """.split()  # noqa: SIM905 -- a table to read
)
_EITHER = frozenset(
    """
    blip florence2 glm4v glm4v_moe glm_ocr kosmos-2 llava llava_next_video llava_onevision minimax_m3_vl paddleocr_vl qwen2_5_vl qwen2_vl shieldgemma2
    video_llama_3
    """.split()  # noqa: SIM905 -- a table to read
)
_INNER = frozenset(
    ("blip-2", "instructblip", "instructblipvideo", "internvl_chat", "kimi_vl", "kosmos-2.5", "llama4", "qwen2_5_omni")
)
_NEVER = frozenset(
    """
    inkling2 inkling2_loop inkling_mm_model mllama molmo2 muse_spark omniasr qwen2_audio vibevoice_asr voxtral
    """.split()  # noqa: SIM905 -- a table to read
)


def stated(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of a multimodal class with what a file of transformers 5 leaves out of it because its class defaults it."""
    nested = next((config[name] for name in MODELS if isinstance(config.get(name), Mapping)), None)
    default = ties_outside(str(config.get("model_type", "")))
    if nested is None or config.get(TIES) is not None or default is None or _version(config) < _CLASS_DECIDES:
        return config
    return {**config, TIES: default}


_CLASS_DECIDES = 5  # transformers' version from which a multimodal class reads its own key


def _version(config: Mapping[str, Any]) -> int:
    """The version of transformers that wrote a file; 0 where the file does not say."""
    first = str(config.get("transformers_version") or "").split(".")[0]
    return int(first) if first.isdecimal() else 0


def settled(flat: Mapping[str, Any], where: str) -> tuple[dict[str, Any], str]:
    """(the config on one level with one word on tied embeddings, how it was chosen; "" where nothing contradicts it). Raises NotModelled where the wrapper's
    class is not known."""
    wrapper, inner = str(flat.get(WRAPPER, "")), flat.get(TIES)
    own = flat.get(WRAPPER_TIES, inner)
    if own == inner and not (inner and wrapper in _NEVER):
        return dict(flat), ""
    if inner is not None and 0 < _version(flat) < _CLASS_DECIDES:
        tied, decides = bool(inner), "transformers 4 uses the second"
        said = f"{TIES} is {own} of the wrapper and {inner} of the language model inside: {decides}"
        return {key: value for key, value in flat.items() if key != WRAPPER_TIES} | {TIES: tied}, said
    if wrapper in _EITHER:
        tied = bool(own or inner)
    elif wrapper in _OWN or wrapper in _INNER or wrapper in _NEVER:
        tied = wrapper not in _NEVER and bool(inner if wrapper in _INNER else own)
    else:
        raise NotModelled(
            f"{where}: not modelled: {TIES} = {own} beside {inner} of the language model inside, in a class that is not known "
            f"(--set model.{TIES}=... chooses one)"
        )
    said = (
        f"{TIES} is {own} of the wrapper and {inner} of the language model inside: the class of {wrapper} takes {tied}"
    )
    return {key: value for key, value in flat.items() if key != WRAPPER_TIES} | {TIES: tied}, said
