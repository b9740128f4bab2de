"""Studies' scales and what they know about people; who somebody is, as numbers. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from percepta.datasets import oasis, para
from percepta.datasets.ratings import Field, Number, Scale
from percepta.errors import InputError

WORLD = (Field("age", "number", low=18, high=80), Field("gender", "choice", ("male", "female", "other")))
SCALES = {"oasis": oasis.SCALE, "para": para.SCALE, "flickr-aes": Scale(1, 5, 1), "world": Scale(1, 7, 1)}
FIELDS: dict[str, tuple[Field, ...]] = {
    "oasis": tuple(oasis.COLUMNS.values()),
    "para": para.FIELDS,
    "flickr-aes": (),
    "world": WORLD,
}


def trait_names(fields: Sequence[Field]) -> list[str]:
    """What the numbers of `traits` are called: "age", "gender=female"."""
    return [name for about in fields for name in _names(about)]


def traits(profile: Mapping[str, str | Number], fields: Sequence[Field]) -> Float[np.ndarray, " p"]:
    """A profile as numbers in the order of `trait_names`; NaN for what is not known.

    A number with a known range is scaled to −1..1, a choice becomes one 0 or 1 for each of its options.

    Raises:
        InputError: a key that is no field, or a value that is none of its; names what is valid.
    """
    if unknown := sorted(set(profile) - {about.name for about in fields}):
        valid = ", ".join(about.name for about in fields) or "nothing: these weights know nothing about people"
        raise InputError(f"no field {unknown[0]!r} in a profile; it may hold {valid}")
    out: list[float] = []
    for about in fields:
        if about.name not in profile:
            out += [float("nan")] * len(_names(about))
            continue
        value = about.read(profile[about.name])
        if about.kind == "choice":
            out += [float(choice == value) for choice in about.choices]
        else:
            known = np.isfinite(about.low) and np.isfinite(about.high)
            out.append(2 * (float(value) - about.low) / (about.high - about.low) - 1 if known else float(value))
    return np.asarray(out, np.float64)


def _names(about: Field) -> list[str]:
    return [f"{about.name}={choice}" for choice in about.choices] if about.kind == "choice" else [about.name]
