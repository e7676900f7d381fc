"""Qwen2.5-Omni and Qwen3-Omni: the towers of Qwen-VL for images, one for sounds; talkers are not counted.

Sources: Hugging Face `modeling_qwen2_5_omni.py`, `modeling_qwen3_omni_moe.py`.
"""

from __future__ import annotations

from functools import partial

from simcost.blocks.tower.tower import Tower
from simcost.model.tower_parts.table import Rule, Wrapper
from simcost.model.towers import audio, qwen

_TALKERS = ("talker_config", "token2wav_config", "code2wav_config")


def omni(c: Wrapper, see: Rule, hear: Rule, talks: bool) -> tuple[Tower, ...]:
    """Towers for images and sounds. `talks`: the class has a talker, whether its table is stated or not, until `enable_audio_output` is off."""
    if talks and c.own.flag("enable_audio_output", True) and not any(c.stated(key) for key in _TALKERS):
        c.missing.append("talker_config is absent, and the class has a talker")
    return (*see(c), *hear(c))


WRAPPERS: dict[str, Rule] = {
    "qwen2_5_omni": partial(omni, see=qwen.qwen2_5_vl, hear=audio.qwen2_5_omni, talks=True),
    "qwen2_5_omni_thinker": partial(omni, see=qwen.qwen2_5_vl, hear=audio.qwen2_5_omni, talks=False),
    "qwen3_omni_moe": partial(omni, see=qwen.qwen3_vl, hear=audio.qwen3, talks=True),
    "qwen3_omni_moe_thinker": partial(omni, see=qwen.qwen3_vl, hear=audio.qwen3, talks=False),
}
