"""The challenge's files: {"arch1": {"acc": 0.0, "arch": 52 characters}, ...}, 45,000 of them, and submissions.

CVPR 2022 lightweight NAS challenge, track 1: a submission is the same file with "acc" filled in; what counts is how it
correlates with hidden accuracies, so any increasing score will do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from percepta.errors import InputError, MissingFileError
from percepta.files import write_atomically
from percepta.formats import field, read_json, short
from percepta.systems.supernet.predictor import fit
from percepta.systems.supernet.space import CodeError, ResNet48

MIN_KNOWN = 8  # known scores that a predictor needs


@dataclass(frozen=True)
class Entries:
    """Architectures that are to be scored.

    Attributes:
        names: in the order of the file.
        codes: of the architectures, in the same order.
        accuracy: what the file says, 0 where it is asked for.
    """

    names: tuple[str, ...]
    codes: tuple[str, ...]
    accuracy: Float[np.ndarray, " n"]


def read(path: Path | str, space: ResNet48 | None = None) -> Entries:
    """Reads and validates a file of the challenge.

    Raises:
        MissingFileError: no such file.
        InputError: no JSON of that form, or a code that is no network: names the entry and the character.
    """
    path, space = Path(path), space or ResNet48()
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; expected the challenge's JSON of architectures")
    content = read_json(path)
    if not isinstance(content, Mapping) or not content:
        raise InputError(f'{path}: expected an object of entries such as "arch1": {{"acc": 0.0, "arch": "1..."}}')
    codes, accuracy = [], []
    for name, entry in content.items():
        where = f"{path}: {short(name)}"
        code, value = field(entry, "arch", str, where), field(entry, "acc", float, where, 0.0)
        try:
            codes.append(space.validate(code))
        except CodeError as error:
            raise InputError(f"{where}: {error}") from None
        accuracy.append(value)
    return Entries(tuple(content), tuple(codes), np.array(accuracy))


def write(path: Path | str, entries: Entries, score: Float[np.ndarray, " n"]) -> Path:
    """Writes a submission, whole or not at all.

    Args:
        path: of the file.
        entries: the architectures.
        score: of each.

    Raises:
        InputError: not one finite score an entry.
    """
    path = Path(path)
    if len(score) != len(entries.codes) or not np.isfinite(score).all():
        raise InputError(f"expected {len(entries.codes):,} finite scores, got {len(score):,}")
    rows = zip(entries.names, entries.codes, score, strict=True)
    content = {name: {"acc": round(float(value), 6), "arch": code} for name, code, value in rows}
    return write_atomically(path, json.dumps(content) + "\n")


def score(
    entries: Entries, known: Mapping[str, float] | None = None, space: ResNet48 | None = None
) -> Float[np.ndarray, " n"]:
    """A score of every entry: multiply-adds alone (0..1), or, with some inherited accuracies known, a predictor's.

    Args:
        entries: the architectures.
        known: accuracy by code, of at least eight networks.
        space: of the codes; None: the challenge's.

    Raises:
        CodeError, InputError: a known code is no network, or there are too few.
    """
    space = space or ResNet48()
    if known is None:
        flops = space.costs(entries.codes)[1].astype(float)
        return flops / space.cost(space.largest()).flops
    if len(known) < MIN_KNOWN:
        raise InputError(f"a predictor needs at least {MIN_KNOWN} known accuracies, got {len(known)}")
    codes = [space.validate(code) for code in known]
    predictor = fit(space.features(codes), np.array([known[code] for code in codes], float))
    features = space.features(entries.codes)
    return np.concatenate([predictor(part)[0] for part in np.array_split(features, max(1, len(features) // 4000))])
