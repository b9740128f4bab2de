"""Who somebody is, as numbers: a profile becomes a row of traits, and a head centres and scales them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.datasets.ratings import Field, Number
from percepta.errors import InputError


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


class TraitNorm(nn.Module):
    """What every head knows about traits: their mean and spread over the people of training."""

    trait_mean: Tensor
    trait_gain: Tensor

    def __init__(self, traits: int) -> None:
        super().__init__()
        self.register_buffer("trait_mean", torch.zeros(traits))
        self.register_buffer("trait_gain", torch.ones(traits))

    @torch.no_grad()
    def fit_traits(self, traits: Float[Tensor, "people p"]) -> None:
        """Takes mean and spread of each trait where it is known; a trait that never differs counts for nothing."""
        if traits.numel():
            count = (~traits.isnan()).sum(0).clamp_min(1)
            mean = traits.nan_to_num().sum(0) / count
            spread = (traits - mean).nan_to_num().square().sum(0) / count
            self.trait_mean.copy_(mean)
            self.trait_gain.copy_(torch.where(spread > 1e-6, spread.clamp_min(1e-6).rsqrt(), 0))

    def normalise_traits(self, traits: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
        """Traits centred and scaled; 0 where unknown, so that nothing is expected from them."""
        return ((traits - self.trait_mean) * self.trait_gain).nan_to_num().clamp(-3, 3)
