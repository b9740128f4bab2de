"""Published checkpoints of SegFormer and DAFormer: their names of our tensors, strictly.

Three layouts: NVIDIA's SegFormer files (`backbone.block1.0.attn.q...`, `decode_head.linear_c1...`), the files of
transformers (`segformer.encoder.block.0.0...`, keys and values apart), and DAFormer's mmseg files (as NVIDIA's, with
`decode_head.embed_layers.0...`; a training's own file has each name with "model." before it and two further copies,
"ema_model." and "imnet_model.", which are left out). What takes no part in an answer is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from percepta.errors import InputError
from percepta.nn.archive import check_keys
from percepta.systems.weather import MIT, Config
from percepta.systems.weather.model import build

Layout = Literal["nvidia", "transformers", "daformer"]
# (our name, what stands in its place), for each layout; the first that fits counts
_BLOCK = (
    (r"norm(\d)", r"norm\1"),
    (r"attention\.query", "attn.q"),
    (r"attention\.key_value", "attn.kv"),
    (r"attention\.out", "attn.proj"),
    (r"attention\.reduce", "attn.sr"),
    (r"attention\.norm", "attn.norm"),
    (r"feed_forward\.first", "mlp.fc1"),
    (r"feed_forward\.depthwise", "mlp.dwconv.dwconv"),
    (r"feed_forward\.last", "mlp.fc2"),
)
_HF_BLOCK = (
    (r"norm(\d)", r"layer_norm_\1"),
    (r"attention\.query", "attention.self.query"),
    (r"attention\.key_value", "attention.self.{key|value}"),
    (r"attention\.out", "attention.output.dense"),
    (r"attention\.reduce", "attention.self.sr"),
    (r"attention\.norm", "attention.self.layer_norm"),
    (r"feed_forward\.first", "mlp.dense1"),
    (r"feed_forward\.depthwise", "mlp.dwconv.dwconv"),
    (r"feed_forward\.last", "mlp.dense2"),
)
_HEADS: dict[Layout, tuple[tuple[str, str], ...]] = {
    "nvidia": (
        (r"levels\.(\d)", "linear_c{1}.proj"),
        (r"fuse", "linear_fuse.conv"),
        (r"norm", "linear_fuse.bn"),
        (r"classify", "linear_pred"),
    ),
    "transformers": (
        (r"levels\.(\d)", r"linear_c.\1.proj"),
        (r"fuse", "linear_fuse"),
        (r"norm", "batch_norm"),
        (r"classify", "classifier"),
    ),
    "daformer": (
        (r"levels\.(\d)", r"embed_layers.\1.proj"),
        (r"branches\.(\d)\.(depthwise|pointwise)\.conv", r"fuse_layer.aspp_modules.\1.\2_conv.conv"),
        (r"branches\.(\d)\.(depthwise|pointwise)\.norm", r"fuse_layer.aspp_modules.\1.\2_conv.bn"),
        (r"branches\.(\d)\.conv", r"fuse_layer.aspp_modules.\1.conv"),
        (r"branches\.(\d)\.norm", r"fuse_layer.aspp_modules.\1.bn"),
        (r"fuse\.conv", "fuse_layer.bottleneck.conv"),
        (r"fuse\.norm", "fuse_layer.bottleneck.bn"),
        (r"classify", "conv_seg"),
    ),
}
UNUSED: dict[Layout, tuple[str, ...]] = {"nvidia": ("decode_head.conv_seg.",), "transformers": (), "daformer": ()}


def convert(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A published checkpoint's tensors under our names, for `load("weather", preset="daformer", weights=PATH)`.

    Raises:
        InputError: the preset is our own network; or names every tensor, in the words of the file, that is missing, odd
            or of a wrong shape.
    """
    if config.encoder not in MIT:
        raise InputError("published checkpoints fit the presets segformer, segformer-hf, segformer-b1 to -b5, daformer")
    if any(name.startswith("model.") for name in state):  # a training's own file
        state = {
            name.removeprefix("model."): value
            for name, value in state.items()
            if not name.startswith(("ema_model.", "imnet_model."))
        }
    layout = layout_of(state, config)
    state = {name: value for name, value in state.items() if not name.startswith(UNUSED[layout])}
    with torch.device("meta"):
        own = build(config).state_dict()
    names = {name: published(name, layout) for name in own}
    expected: dict[str, Tensor] = {}
    for name, parts in names.items():
        for part, piece in zip(parts, own[name].chunk(len(parts)) if len(parts) > 1 else [own[name]], strict=True):
            expected[part] = piece
    check_keys(expected, state, f"a {layout} checkpoint of {config.encoder} with the head {config.head}")
    return {
        name: state[parts[0]] if len(parts) == 1 else torch.cat([state[part] for part in parts])
        for name, parts in names.items()
    }


def layout_of(state: Mapping[str, Tensor], config: Config) -> Layout:
    """Which layout a file has, by its names.

    Args:
        state: tensors by their published names.
        config: of the network that they are for.
    """
    if config.head == "daformer":
        return "daformer"
    return "transformers" if any(name.startswith("segformer.") for name in state) else "nvidia"


def published(name: str, layout: Layout) -> tuple[str, ...]:
    """What a layout calls one of our tensors; two names where it keeps keys and values apart.

    Args:
        name: ours.
        layout: of the file.
    """
    head, _, rest = name.partition(".")
    path, _, leaf = rest.rpartition(".")
    if head == "head":
        said = _first(path, _HEADS[layout])
        if "{1}" in said:  # NVIDIA counts levels from 1
            said = said.replace("{1}", str(int(path.split(".")[1]) + 1))
        return (f"decode_head.{said}.{leaf}",)
    _, stage, part = path.split(".", 2)
    hf, number = layout == "transformers", int(stage) + 1
    if part.startswith("blocks."):
        _, block, inner = part.split(".", 2)
        said = _first(inner, _HF_BLOCK if hf else _BLOCK)
        start = f"segformer.encoder.block.{stage}.{block}" if hf else f"backbone.block{number}.{block}"
        if "{key|value}" in said:
            return tuple(f"{start}.{said.replace('{key|value}', one)}.{leaf}" for one in ("key", "value"))
        return (f"{start}.{said}.{leaf}",)
    if hf:
        said = {"patches": f"patch_embeddings.{stage}.proj", "patch_norm": f"patch_embeddings.{stage}.layer_norm",
                "norm": f"layer_norm.{stage}"}[part]  # fmt: skip
        return (f"segformer.encoder.{said}.{leaf}",)
    said = {"patches": f"patch_embed{number}.proj", "patch_norm": f"patch_embed{number}.norm", "norm": f"norm{number}"}
    return (f"backbone.{said[part]}.{leaf}",)


def _first(path: str, rules: tuple[tuple[str, str], ...]) -> str:
    for ours, theirs in rules:
        if re.fullmatch(ours, path):
            return re.sub(ours, theirs, path)
    raise InputError(f"no published name is known for {path!r}")
