"""The model as `moments.Encoder`: pictures to vectors to packed codes, for many files.

Batch norms are folded, and each thread encodes few pictures at a time: a code then depends on its picture alone, not on
what is encoded beside it, and an index does not depend on where a run was stopped.

There are three kinds: `float32` is torch; `onnx` the same arithmetic by onnxruntime (extra `export`), about twice as
fast; `int8` rounds weights and activations to 8 bits, with ranges taken from pictures of the collection. The graph is
made once and kept in the index, so that all codes of an index come from the same graph.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from percepta.contract import weights_hash
from percepta.errors import MissingExtraError, MissingFileError
from percepta.nn.text import check_words, foreign_note
from percepta.systems.hashing.model import Hasher

KINDS = ("float32", "onnx", "int8")
GRAPH = "encoder.onnx"
CALIBRATION = 64  # pictures that the int8 graph's ranges are taken from, at most
# Stem and the first blocks, whose few channels have very uneven ranges, stay in float: with them in int8 the cosine
# to float32 falls from 0.99 to 0.86, and they are a small part of the work.
FLOAT_FIRST = 6
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


class ModelEncoder:
    """A trained model as `moments.Encoder`.

    Args:
        model: a Hasher; its weights are not changed.
        graph: what `write_graph` wrote; None: torch.

    Attributes:
        model: as given, in eval mode.
        side: of the pictures that it takes, in pixels.
        bits: of a code.
        weights: hash of the model's weights.
    """

    def __init__(self, model: Hasher, graph: Path | None = None) -> None:
        self.model, self.side, self.bits = model.eval(), model.side, model.config.bits
        self.weights = weights_hash(model)
        self._graph, self._session, self._digest = graph, None, b""
        if graph is not None:
            self._session = _session(graph)
            self._digest = hashlib.sha256(graph.read_bytes()).digest()

    def fingerprint(self) -> str:
        """A hash of all that a code depends on: the model, its settings and the graph."""
        own = self.model.fingerprint()
        return own if self._graph is None else hashlib.sha256(own.encode() + self._digest).hexdigest()

    @torch.no_grad()
    def pictures(self, pixels: UInt8[np.ndarray, "b side side 3"]) -> Float32[np.ndarray, "b d"]:
        """Unit vectors of pictures."""
        images = (
            torch.from_numpy(pixels).to(self.model.device).permute(0, 3, 1, 2).float() / 255
        )  # channels last, as it lies
        if self._session is not None:
            singles = images.contiguous().cpu().numpy()[:, None]
            rows = [self._session.run(None, {"images": one})[0] for one in singles]  # the graph takes one picture
            return functional.normalize(torch.from_numpy(np.concatenate(rows)), dim=-1).numpy()
        return self.model.pictures(images).float().cpu().numpy()

    @torch.no_grad()
    def codes(self, vectors: Float32[np.ndarray, "b d"]) -> UInt8[np.ndarray, "b w"]:
        """Packed codes of vectors of pictures or of means of them."""
        # One at a time: a matrix product rounds in an order that depends on how many rows it has.
        rows = [
            self.model.hash(row[None]) for row in torch.from_numpy(np.ascontiguousarray(vectors)).to(self.model.device)
        ]
        return np.packbits(torch.cat(rows).cpu().numpy(), axis=1)

    @torch.no_grad()
    def sentences(self, words: Sequence[str]) -> UInt8[np.ndarray, "b w"]:
        """Packed codes of sentences.

        Raises:
            InputError: the text encoder knows no word of one.
        """
        check_words(self.model.text, words)
        for sentence in words:
            if note := foreign_note(self.model.text, sentence):
                warnings.warn(f"{sentence!r}: {note}", stacklevel=2)
        return np.packbits(self.model.sentence_codes(list(words)).bits.cpu().numpy(), axis=1)


class _PictureSide(nn.Module):
    """What the graph computes: vectors before their length is set to 1."""

    def __init__(self, model: Hasher) -> None:
        super().__init__()
        self.image, self.align = model.image.folded(), model.align

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return self.align.pictures(self.image, images)


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """torch with one thread in each of our own threads, which is faster than all threads on one picture."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_graph(model: Hasher, path: Path, pixels: UInt8[np.ndarray, "n side side 3"] | None = None) -> Path:
    """Writes the picture side as an ONNX graph.

    Args:
        model: whose picture side it is.
        path: of the graph.
        pixels: pictures that the ranges of int8 are taken from (weights by channel); None: float32.

    Raises:
        MissingExtraError: the extra is not installed.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise MissingExtraError(f"{', '.join(missing)} missing: run pip install 'percepta[export]'")
    path.parent.mkdir(parents=True, exist_ok=True)
    plain, rounded = path.with_name(f".{path.name}.float"), path.with_name(f".{path.name}.tmp")
    try:
        with _quiet():
            module = _PictureSide(model).cpu().float().eval()
            example = torch.zeros(1, 3, model.side, model.side)
            torch.onnx.export(module, (example,), str(plain), input_names=["images"], output_names=["vectors"],
                              dynamo=True, external_data=False, verbose=False)  # fmt: skip
            if pixels is not None:
                _round(plain, rounded, pixels)
        (plain if pixels is None else rounded).replace(path)
    finally:
        for file in (plain, rounded):
            file.unlink(missing_ok=True)
    return path


def _round(plain: Path, rounded: Path, pixels: UInt8[np.ndarray, "n side side 3"]) -> None:
    import onnx  # type: ignore[import-not-found]
    from onnxruntime import quantization  # type: ignore[import-not-found]

    layers = [node.name for node in onnx.load(str(plain)).graph.node if node.op_type == "Conv"]
    quantization.quantize_static(
        str(plain),
        str(rounded),
        _Reader(pixels),  # pyright: ignore[reportArgumentType]
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=layers[:FLOAT_FIRST],
    )


class _Reader:  # what onnxruntime.quantization.CalibrationDataReader asks for, without importing it
    """Hands pictures to onnxruntime's calibration."""

    def __init__(self, pixels: UInt8[np.ndarray, "n side side 3"]) -> None:
        self._left = iter(pixels)

    def get_next(self) -> dict[str, Any] | None:
        picture = next(self._left, None)
        return None if picture is None else {"images": picture.transpose(2, 0, 1)[None].astype(np.float32) / 255}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the messages that exporters print."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _session(graph: Path) -> Any:
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("this index was made with onnxruntime: pip install 'percepta[export]'")
    import onnxruntime  # type: ignore[import-not-found]

    if not graph.is_file():
        raise MissingFileError(f"{graph}: missing; the index was made with it")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
