"""The loop from frame to frame that all networks share: what was given, what is predicted, what is remembered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from percepta.systems.vos import Config
from percepta.systems.vos.memory import Memory


def aggregate(probability: Float[Tensor, "*b n h w"]) -> Float[Tensor, "*b n1 h w"]:
    """Soft aggregation (STM, Oh et al. 2019, equation 3): logits of background and objects, whose softmax is shared.

    The background is what no object claims: Π (1 − p).
    """
    background = (1 - probability).prod(-3, keepdim=True)
    every = torch.cat([background, probability], -3).clamp(1e-7, 1 - 1e-7)
    return torch.log(every / (1 - every))


def merge(
    predicted: Float[Tensor, "n h w"] | None, ids: Sequence[int], given: Mapping[int, Float[Tensor, "h w"]]
) -> tuple[Float[Tensor, "n1 h w"], list[int]]:
    """Probabilities in which given masks have taken the place of predicted ones, as published.

    Args:
        predicted: of the objects `ids`, without background; None where all are given.
        ids: of the objects that there were.
        given: masks of some of them, and of new ones.

    Returns:
        (background first, all objects: new ones last; their ids). A given mask comes back as the softmax of clamped
        log-odds.
    """
    masks = {one: mask.to(torch.float32) for one, mask in given.items()}
    taken = torch.stack(list(masks.values())).sum(0) > 0.5
    rows = {}
    for i, one in enumerate(ids):
        if one not in masks:
            assert predicted is not None
            rows[one] = predicted[i].masked_fill(taken, 0.0)
    every = [*ids, *(one for one in masks if one not in ids)]
    return aggregate(torch.stack([masks.get(one, rows.get(one)) for one in every])).softmax(0), every  # type: ignore[misc]


@dataclass(frozen=True)
class Answer:
    """Of one frame.

    Attributes:
        probability: of background and objects, in the order of the follower's ids.
        presence: of each object being in sight, 0..1; of the published networks, which do not say it, the highest
            probability of a pixel.
    """

    probability: Float[Tensor, "n1 h w"]
    presence: Float[Tensor, " n"]


@dataclass
class Follower:
    """Objects on their way through a video. Each network has its own, which says what a frame is encoded to, how a mask
    is predicted from it, and what is kept of it. Tensors are never changed in place: a shallow copy is a snapshot.

    Attributes:
        model: the network.
        config: its settings.
        ids: of the objects, in the order in which they came.
        frame: number of the last frame; -1 before the first.
        kept: number of the last frame that went into the memory.
        masks: of the last frame, probabilities without background.
        state: of each object, what else goes from frame to frame.
        memory: of keys and values.
    """

    model: Any
    config: Config
    ids: list[int] = field(default_factory=list)
    frame: int = -1
    kept: int = 0
    masks: Float[Tensor, "n h w"] | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    memory: Any = field(init=False)

    def __post_init__(self) -> None:
        self.memory = self.new_memory()

    def new_memory(self) -> Any:
        """An empty memory."""
        return Memory(self.config)

    def step(
        self, picture: Float[Tensor, "3 h w"], given: Mapping[int, Float[Tensor, "h w"]], *, cut: bool = False
    ) -> Answer:
        """Takes a frame.

        Args:
            picture: RGB in 0..1, of the size of all other frames.
            given: masks by id, 0 or 1; those of new ids begin objects, others correct them.
            cut: whether another scene begins, in which nothing is where it was.
        """
        self.frame += 1
        keeps = bool(given) or self.frame - self.kept >= self.config.memory_every
        encoded = self.encode(picture)
        probability = presence = None
        if self.ids and any(one not in given for one in self.ids):
            probability, presence = self.predict(encoded, keeps, cut)
        if given:
            probability, every = merge(None if probability is None else probability[1:], self.ids, given)
            new = len(every) - len(self.ids)
            known = torch.zeros(len(self.ids), device=probability.device) if presence is None else presence
            presence = torch.cat([known, known.new_zeros(new)])
            for i, one in enumerate(every):
                if one in given:
                    presence[i] = float(given[one].any())
            self.begin(encoded, new, probability[1:])
            self.ids = every
        if probability is None:
            size = picture.shape[1:]
            return Answer(picture.new_ones(1, *size), picture.new_zeros(0))
        assert presence is not None
        self.masks = probability[1:]
        if keeps and self.ids:
            self.keep(picture, encoded, self.masks, given)
            self.kept = self.frame
        self.leave(encoded)
        return Answer(probability, presence)

    def encode(self, picture: Tensor) -> Any:
        """What is computed of a picture for all objects."""
        raise NotImplementedError

    def predict(self, encoded: Any, keeps: bool, cut: bool) -> tuple[Tensor, Tensor]:
        """(probabilities, background first; presence of each object).

        Args:
            encoded: of the frame.
            keeps: whether the frame goes into the memory afterwards.
            cut: whether another scene begins.
        """
        raise NotImplementedError

    def keep(self, picture: Tensor, encoded: Any, masks: Tensor, given: Collection[int]) -> None:
        """Puts a frame into the memory.

        Args:
            picture: the frame.
            encoded: of the frame.
            masks: of its objects.
            given: objects whose masks were given.
        """
        raise NotImplementedError

    def begin(self, encoded: Any, new: int, masks: Tensor) -> None:
        """Gives more objects a state.

        Args:
            encoded: of the frame.
            new: how many.
            masks: of all objects.
        """
        raise NotImplementedError

    def leave(self, encoded: Any) -> None:
        """Notes what the next frame needs of this one."""

    def remove(self, ids: Sequence[int]) -> None:
        """Stops following some objects."""
        rows = [i for i, one in enumerate(self.ids) if one not in ids]
        self.ids = [self.ids[i] for i in rows]
        self.masks = None if self.masks is None else self.masks[rows]
        self.state = {name: value[rows] for name, value in self.state.items()}
        self.memory.remove(ids)

    def copy(self) -> Follower:
        """A snapshot."""
        other = copy(self)
        other.ids, other.state, other.memory = list(self.ids), dict(self.state), self.memory.copy()
        return other

    def tensors(self) -> dict[str, Tensor]:
        """Everything, to be saved."""
        out = _named("state", self.state) | _named("memory", self.memory.tensors())
        out["counts"] = torch.tensor([self.frame, self.kept])
        out["ids"] = torch.tensor(self.ids, dtype=torch.long)
        if self.masks is not None:
            out["masks"] = self.masks
        return out

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """The opposite of `tensors`."""
        self.frame, self.kept = tensors["counts"].tolist()
        self.ids = tensors["ids"].tolist()
        self.masks = tensors.get("masks")
        self.state = _under("state", tensors)
        self.memory.fill(_under("memory", tensors))


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def resized(probability: Float[Tensor, "n h w"], height: int, width: int) -> Float[Tensor, "n height width"]:
    """Maps of probabilities at another size, bilinear.

    Args:
        probability: in 0..1.
        height: in pixels.
        width: in pixels.
    """
    if probability.shape[1:] == (height, width):
        return probability
    return functional.interpolate(probability[None], (height, width), mode="bilinear")[0]
