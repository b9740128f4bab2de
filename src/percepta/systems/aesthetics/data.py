"""Rating studies as samples: one sample is a person with all their ratings.

People, and groups of pictures (a theme, a session), are divided into parts once, by the seed of the settings. Member f
of a model learns from the ratings that people outside of part f gave to pictures outside of part f. The split "val"
holds, for every member, the people of its part: they are tested on the pictures of its part, which nobody's score was
used for, after 0, 10 or 100 of their ratings of other pictures. In the split "all" everybody is tested in the same way
with all members together: for studies that the weights have never seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from percepta.contract import Batch
from percepta.datasets import album, flickr_aes, layouts, oasis, para
from percepta.datasets.layouts import Found
from percepta.datasets.problem import Problem, tell
from percepta.datasets.ratings import Number, Scale, Study
from percepta.errors import InputError
from percepta.media import image
from percepta.systems.aesthetics import Config
from percepta.systems.aesthetics.traits import traits
from percepta.systems.aesthetics.world import world

SETS = {"oasis": oasis, "para": para, "flickr-aes": flickr_aes}  # Config.study -> the file that reads it


def parts(names: Sequence[str], count: int, seed: int, what: str) -> Int[np.ndarray, " n"]:
    """Deals names into `count` parts of equal size, in an order that follows from (seed, what, name); equal names go
    together.

    Args:
        names: one for each person or picture.
        count: how many parts.
        seed: of the order.
        what: "people" or "pictures", which get orders of their own.
    """
    different = sorted(set(names), key=lambda name: hashlib.blake2b(f"{seed}/{what}/{name}".encode()).digest())
    place = {name: index % count for index, name in enumerate(different)}
    return np.array([place[name] for name in names], np.int64)


def study(config: Config, root: Path) -> Study:
    """The ratings in a folder of any layout that is known; of several studies in it, the one of the settings.

    Raises:
        MissingFileError, InputError: no such folder or layout, a bad row (file and line), or a study with other scores
            or other facts about people than the model's.
    """
    studies = layouts.find(root, Study)
    own = [one for one in studies if one.set is SETS.get(config.study)]
    found = own[0] if len(own) == 1 else only(root, studies)
    if found.set is album:
        raise InputError(
            f"{root}: an album of one person, which is nothing to train on; "
            f"`percepta predict aesthetics {root} --ratings {album.RATINGS}` adapts to it"
        )
    name = next(name for name, module in SETS.items() if module is found.set)
    if name != config.study:
        raise InputError(
            f"{root} is laid out as {name}, these settings are for {config.study} (another scale, other facts "
            f"about people); say --study {name}"
        )
    problems: list[Problem] = []
    read = found.read(found.root, problems)
    good = [i for i, path in enumerate(read.pictures) if _good(path, problems)]
    tell(problems, str(root), strict=config.train.strict)
    return read.subset(pictures=good)


def _good(path: Path, problems: list[Problem]) -> bool:
    if wrong := image.broken(path):
        problems.append(Problem(path, None, wrong.removeprefix(f"{path}: ")))
    return not wrong


def only(root: Path, studies: Sequence[Found[Study]]) -> Found[Study]:
    """The one study that was found in a folder; albums do not count where there are studies.

    Raises:
        InputError: several; names them.
    """
    chosen = [one for one in studies if one.set is not album] or list(studies)
    if len(chosen) > 1:
        listed = ", ".join(f"{one.root.name} ({one.set.NAME})" for one in chosen)
        raise InputError(f"{root} holds several: {listed}; give the folder of one of them")
    return chosen[0]


@dataclass(frozen=True)
class People:
    """People with their ratings; see the top of this file.

    Attributes:
        pictures: files, or bytes (n 3 h w) of the synthetic world.
        scores: people × pictures, NaN where there is none.
        traits: people × p, NaN where not known.
        person_fold: the part that each person was dealt into.
        picture_fold: the part that each picture was dealt into.
        means: members × pictures: the mean over the member's training people; NaN for pictures of its own part.
        histograms: members × pictures × bins: the shares of their scores, for each score of the scale; NaN as in
            `means`.
        crowd: `means` for all pictures: what nobody but an oracle knows of the part's pictures.
        rows: the people who are the samples, and for the split "val" the member that is tested on them (else −1).
        profiles: what is known of each person.
        names: of the people.
        ensemble: whether all members predict together.
    """

    pictures: Sequence[Path] | UInt8[Tensor, "n 3 h w"]
    scores: Float[np.ndarray, "people n"]
    traits: Float[np.ndarray, "people p"]
    person_fold: Int[np.ndarray, " people"]
    picture_fold: Int[np.ndarray, " n"]
    means: Float[np.ndarray, "members n"]
    histograms: Float[np.ndarray, "members n bins"]
    crowd: Float[np.ndarray, "members n"]
    rows: Int[np.ndarray, "rows 2"]
    profiles: Sequence[Mapping[str, str | Number]]
    names: Sequence[str]
    ensemble: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        who, member = self.rows[key[1] % len(self.rows)]
        return {"person": int(who), "member": int(member)}

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        """A batch: what all samples share (pictures, means, folds) and b people's scores and traits."""
        who = [sample["person"] for sample in samples]
        tensor = {"means": self.means, "histograms": self.histograms, "crowd": self.crowd}
        tensor |= {"picture_fold": self.picture_fold, "person_fold": self.person_fold[who]}
        tensor |= {"scores": self.scores[who], "traits": self.traits[who]}
        return {
            "pictures": self.pictures,
            "ratings": int((~np.isnan(self.scores)).sum()),
            "everybody": torch.from_numpy(self.traits).float(),
            "member": torch.tensor([sample["member"] for sample in samples]),
            "names": [self.names[index] for index in who],
            "profiles": [dict(self.profiles[index]) for index in who],
            "ensemble": self.ensemble,
            **{name: _tensor(value) for name, value in tensor.items()},
        }


def data(config: Config, split: str, root: Path | None = None) -> People:
    """The samples of a split.

    Args:
        config: its seed and number of parts divide people and pictures.
        split: "train", "val" (held-out people on held-out pictures; "test" is the same) or "all".
        root: a folder with a rating study; None: the synthetic world.

    Raises:
        InputError: no such split; a study of too few people or pictures to be divided.
    """
    if split not in ("train", "val", "test", "all"):
        raise InputError(f"no split {split!r}; there are train, val and all")
    if root is None:
        images, found = world(config.size, config.seed)
        pictures: Sequence[Path] | Tensor = images
    else:
        found = study(config, root)
        pictures = found.pictures
    person_fold = parts(found.people, config.folds, config.seed, "people")
    picture_fold = parts(found.groups, config.folds, config.seed, "pictures")
    if len(found.people) < 2 * config.folds or len(set(found.groups)) < 2 * config.folds:
        raise InputError(
            f"{root or 'the world'}: {len(found.people)} people and {len(set(found.groups))} groups of pictures are "
            f"too few for {config.folds} parts; at least {2 * config.folds} of each, or lower --folds"
        )
    scores = found.matrix()
    crowd = np.stack([_means(scores[person_fold != fold]) for fold in config.members])
    means = crowd.copy()
    for member, fold in enumerate(config.members):
        means[member, picture_fold == fold] = np.nan
    histograms = np.stack([_histograms(scores[person_fold != fold], found.scale) for fold in config.members])
    histograms[np.isnan(means)] = np.nan
    if split == "train":
        rows = [(who, -1) for who in range(len(scores)) if any(person_fold[who] != fold for fold in config.members)]
    elif split == "all":
        rows = [(who, -1) for who in range(len(scores))]
    else:
        rows = [(w, m) for m, fold in enumerate(config.members) for w in np.flatnonzero(person_fold == fold)]
        if not rows:
            raise InputError(
                "nothing is held out: members are judged by the parts that they did not see, and there is none"
            )
    return People(
        pictures=pictures,
        scores=scores,
        traits=np.stack([traits(profile, found.fields) for profile in found.profiles]),
        person_fold=person_fold,
        picture_fold=picture_fold,
        means=means,
        histograms=histograms,
        crowd=crowd,
        rows=np.array(rows, np.int64),
        profiles=found.profiles,
        names=found.people,
        ensemble=split == "all",
    )


def _means(scores: Float[np.ndarray, "people n"]) -> Float[np.ndarray, " n"]:
    """Mean over people of each picture; NaN where nobody rated it."""
    count = (~np.isnan(scores)).sum(0)
    return np.where(count > 0, np.nansum(scores, 0) / np.maximum(count, 1), np.nan)


def _histograms(scores: Float[np.ndarray, "people n"], scale: Scale) -> Float[np.ndarray, "n bins"]:
    """The share of each score of the scale among those of a picture; NaN where nobody rated it."""
    bins = 1 + round((scale.high - scale.low) / scale.step)
    place = np.round((scores - scale.low) / scale.step)
    count = np.stack([(place == number).sum(0) for number in range(bins)], 1)
    total = count.sum(1, keepdims=True)
    return np.where(total > 0, count / np.maximum(total, 1), np.nan)


def _tensor(values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.float() if tensor.is_floating_point() else tensor
