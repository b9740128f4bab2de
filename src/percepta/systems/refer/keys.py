"""Published weights for the paper's network: CRIS checkpoints and OpenAI's CLIP, by their own key names.

The attributes of `cris.CRIS` are named as the keys are, so there is nothing to translate, only to unwrap and to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from percepta.errors import InputError
from percepta.nn.archive import check_keys, read_archive, state_of
from percepta.nn.clip import load_openai
from percepta.systems.refer import Config
from percepta.systems.refer.cris import CRIS


def official(content: Mapping[str, object], source: str = "the checkpoint") -> dict[str, Tensor]:
    """The state inside a published checkpoint: without "state_dict" around it and `module.` (DDP) before its keys.

    Raises:
        InputError: it holds no dictionary of tensors, or the same key with and without `module.`.
    """
    state = state_of(content, source)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    if len(plain) != len(state):
        twice = [key for key in state if "module." + key in state]
        raise InputError(f"{source} has keys both with and without 'module.': {', '.join(twice[:8])}")
    return plain


def load_cris(model: CRIS, checkpoint: Path | Mapping[str, object], source: str = "the CRIS checkpoint") -> None:
    """Fills the network from a published checkpoint, a file or its content.

    Args:
        model: what is filled.
        checkpoint: a file or its content.
        source: what messages call it.

    Raises:
        MissingFileError: there is no such file.
        InputError: names every key that is missing, unexpected or of another shape; the model is left as it was.
    """
    if isinstance(checkpoint, Mapping):
        state = official(checkpoint, source)
    else:
        source = str(checkpoint)
        state = official(read_archive(Path(checkpoint)), source)
    check_keys(model.state_dict(), state, source)
    model.load_state_dict(state)


def load_clip(model: CRIS, weights: Path | Mapping[str, object], source: str = "the CLIP weights") -> None:
    """Fills `model.backbone` with OpenAI's CLIP, an archive or its state; `attnpool.connect` keeps its random start.

    The positions of the attention pool stay as OpenAI has them; the network resizes them to the picture's grid.

    Args:
        model: what is filled.
        weights: a file or its content.
        source: what messages call it.

    Raises:
        MissingFileError, InputError: as `load_cris`.
    """
    if isinstance(weights, Mapping):
        state = state_of(weights, source)
    else:
        source = str(weights)
        state = read_archive(Path(weights))
    load_openai(model.backbone, state, source)


def sizes(state: Mapping[str, Tensor]) -> dict[str, int | tuple[int, ...]]:
    """Arguments of `CRIS` that the shapes of an official state tell: all but word_len, image_size, num_head, dropout.

    Raises:
        InputError: the state is not one of a CRIS.
    """

    def shape(key: str) -> tuple[int, ...]:
        if key not in state:
            raise InputError(f"this is no CRIS checkpoint: it has no {key}")
        return tuple(state[key].shape)

    def count(prefix: str) -> int:
        return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})

    neck = {name: shape(f"neck.{name}_v_proj.0.weight")[:2] for name in ("f3", "f2", "f1")}
    return {
        "fpn_in": tuple(pair[1] for pair in neck.values()),
        "fpn_out": tuple(pair[0] for pair in neck.values()),
        "num_layers": count("decoder.layers."),
        "vis_dim": shape("decoder.norm.weight")[0],
        "dim_ffn": shape("decoder.layers.0.ffn.0.weight")[0],
        "word_dim": shape("proj.txt.weight")[1],
        "vision_layers": tuple(count(f"backbone.visual.layer{stage}.") for stage in range(1, 5)),
        "vision_width": shape("backbone.visual.conv3.weight")[0],
        "vocab": shape("backbone.token_embedding.weight")[0],
        "context_length": shape("backbone.positional_embedding")[0],
        "text_width": shape("backbone.positional_embedding")[1],
        "text_layers": count("backbone.transformer.resblocks."),
        "grid": round((shape("backbone.visual.attnpool.positional_embedding")[0] - 1) ** 0.5),
    }


def convert(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """A published CRIS checkpoint's tensors under our names, for `load("refer", preset="rn50", weights=PATH)`.

    Raises:
        InputError: the preset is not one of the paper's networks.
    """
    if config.design != "cris":
        raise InputError("published CRIS checkpoints fit the presets rn50 and rn101, not our small network")
    return official(state)
