"""Encoders that make codes of images: Janus, whose images are seen by an encoder of its own and drawn by codes, and Chameleon, which reads codes alone. They are counted; no time is given for an image.

Sources: Hugging Face `modeling_janus.py`, `modeling_chameleon.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from simcost.blocks.tower.tower import PATCHES, Encoder, Matrix, Tower
from simcost.errors import SpecError
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper


def _conv(inner: float, out: float, kernel: float = 3.0) -> float:
    return kernel**2 * inner * out + out


def _resnet(inner: float, out: float) -> float:
    """Two convolutions behind a norm each, and a product beside them where the width changes."""
    return (
        2.0 * inner
        + _conv(inner, out)
        + 2.0 * out
        + _conv(out, out)
        + (_conv(inner, out, 1.0) if inner != out else 0.0)
    )


def _attention(width: float) -> float:
    return 2.0 * width + 4.0 * _conv(width, width, 1.0)


def _middle(width: float) -> float:
    return 2.0 * _resnet(width, width) + _attention(width)


def _down(widths: Sequence[float], start: float, blocks: int, attends: Sequence[bool], attended: bool) -> float:
    """Levels of ResNet blocks, each but the last with a convolution of stride 2, and the middle, with attention where `attended`."""
    total, inner = 0.0, start
    for level, width in enumerate(widths):
        for _ in range(blocks):
            total += _resnet(inner, width) + (_attention(width) if attends[level] else 0.0)
            inner = width
        total += _conv(width, width) if level + 1 < len(widths) else 0.0
    return total + _middle(inner) - (0.0 if attended else _attention(inner))


def _up(widths: Sequence[float], blocks: int) -> float:
    """The decoder's middle and levels, last to first: a ResNet block more than the encoder's, attention on the last, a convolution after each but the first."""
    inner = widths[-1]
    total = _middle(inner)
    for level in reversed(range(len(widths))):
        for _ in range(blocks + 1):
            total += _resnet(inner, widths[level])
            inner = widths[level]
            total += _attention(inner) if level + 1 == len(widths) else 0.0
        total += _conv(inner, inner) if level else 0.0
    return total


class _Codes:
    """What of a `vq_config` both classes read."""

    def __init__(self, vq: Table) -> None:
        self.base, self.blocks = vq.num("base_channels", default=128), int(vq.num("num_res_blocks", default=2))
        stated = vq.raw("channel_multiplier", default=[1, 1, 2, 2, 4])
        if not isinstance(stated, (list, tuple)) or not stated:
            raise SpecError(
                f"{vq.where}: 'vq_config.channel_multiplier' must be a list of numbers above 0, not {stated!r}"
            )
        self.widths = [
            self.base * Table({"channel_multiplier": each}, vq.name, vq.where).num("channel_multiplier")
            for each in stated
        ]
        self.latent, self.embed = (
            vq.num("latent_channels", default=256),
            vq.num("embed_dim", default=self.default_embed),
        )
        self.codes = vq.num("num_embeddings", default=self.default_codes)
        self.colours = vq.num("in_channels", default=3)
        self.double = 2.0 if vq.flag("double_latent", False) else 1.0

    default_embed, default_codes = 8.0, 16384.0

    def encoder(self, attends: Sequence[bool], attended: bool = True) -> float:
        """Encoder, table of codes and the products before and behind them."""
        last, latent = self.widths[-1], self.latent
        ends = _conv(self.colours, self.base) + 2.0 * last + _conv(last, latent * self.double)
        quantised = self.codes * self.embed + _conv(latent, self.embed, 1.0) + _conv(self.embed, latent, 1.0)
        return ends + _down(self.widths, self.base, self.blocks, attends, attended) + quantised


class _ChameleonCodes(_Codes):
    default_embed, default_codes = 256.0, 8192.0


def janus(c: Wrapper) -> tuple[Tower, ...]:
    """An encoder with an aligner of `depth` products for what is seen; an encoder, codes and a decoder, an aligner and a head for what is drawn."""
    vision, vq = c.table("vision_config"), c.table("vq_config")
    v, layers = vision.num("hidden_size", default=1024), vision.num("num_hidden_layers", default=24)
    heads, patch, side = (
        vision.num("num_attention_heads", default=16),
        vision.side("patch_size", 16),
        vision.side("image_size", 384),
    )
    g, out = float(int(v * vision.num("mlp_ratio", default=4))), vision.num("projection_dim", default=2048)
    biases = 4.0 * v if vision.flag("attention_bias", True) else v
    norms = 4.0 * v if vision.flag("use_qk_norm", False) else 0.0
    vision.ignore("num_image_tokens")
    blocks = Encoder(layers, v, heads, v / heads, g, biases + norms + g + v + 4.0 * v)
    trunk = trunks.Trunk(
        v, (trunks.embedding(vision, v, patch, True), blocks), (side // patch) ** 2 * v + 2.0 * v, patch, side
    )
    aligner = [Matrix("fc1", v, out)]
    aligner += [Matrix(f"hidden_{i}", out, out) for i in range(1, int(vision.num("depth", default=2)))]
    seen = trunks.tower(trunk, tuple(aligner), 0.0, PATCHES)
    return seen, Tower("image generator", "vq_config", (), _drawn(_Codes(vq), vq))


def _drawn(codes: _Codes, vq: Table) -> float:
    """What draws images: both sides of the codes, and the products between codes and the language model."""
    last, out = codes.widths[-1], vq.num("projection_dim", default=2048)
    ends = [False] * (len(codes.widths) - 1) + [True]
    decoder = _conv(codes.latent, last) + _up(codes.widths, codes.blocks) + 2.0 * codes.widths[0]
    decoder += _conv(codes.widths[0], vq.num("out_channels", default=3))
    deep = vq.num("num_hidden_layers", default=2) - 1.0
    aligner = _conv(codes.embed, out, 1.0) + deep * _conv(out, out, 1.0) + codes.codes * codes.embed
    head = _conv(vq.num("image_token_embed_dim", default=2048), out, 1.0) + _conv(out, codes.codes, 1.0)
    vq.ignore("num_patches")
    return codes.encoder(ends) + decoder + aligner + head


def chameleon(c: Wrapper) -> tuple[Tower, ...]:
    """An encoder and a table of codes, whose numbers are words of the vocabulary. Attention stands on levels of `attn_resolutions` pixels."""
    vq = c.table("vq_config")
    codes, side = _ChameleonCodes(vq), vq.num("resolution", default=512)
    at = vq.raw("attn_resolutions") or []
    kind = vq.raw("attn_type", default="vanilla")
    if not isinstance(at, (list, tuple)) or kind not in ("vanilla", "none"):
        raise Uncounted(f"vq_config: attn_resolutions = {at!r} with attn_type = {kind!r} is not known")
    attends = [kind == "vanilla" and side // 2**level in at for level in range(len(codes.widths))]
    return (Tower("image encoder", "vq_config", (), codes.encoder(attends, kind == "vanilla")),)


WRAPPERS: dict[str, Rule] = {"janus": janus, "chameleon": chameleon}
