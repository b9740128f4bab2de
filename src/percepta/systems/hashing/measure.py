"""Numbers of an evaluation: recall, median rank and mean average precision, both directions, beside what others reach.

Beside each number stand, on the same vectors: their cosine without any hashing (the ceiling), the sign of random
projections with as many bits, and chance. Intervals: bootstrap over videos, with all their sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num

from percepta.errors import InputError
from percepta.metrics import Metric, ranking
from percepta.systems.hashing import peers

AT = (1, 5, 10)
DIRECTIONS = ("text to video", "video to text")
DRAWS = 1000


@dataclass(frozen=True)
class Search:
    """What came out of searching a collection both ways.

    Attributes:
        ranks, precision: for each direction, of every query: rank of its best right answer from 1, average precision.
        groups: for each direction, of every query: whose videos are drawn together.
    """

    ranks: tuple[Int[np.ndarray, " s"], Int[np.ndarray, " v"]]
    precision: tuple[Float[np.ndarray, " s"], Float[np.ndarray, " v"]]
    groups: tuple[Int[np.ndarray, " s"], Int[np.ndarray, " v"]]

    def values(self, direction: int) -> dict[str, tuple[np.ndarray, Callable[[np.ndarray], float]]]:
        """Name of each number -> (a value of every query, how many become one)."""
        ranks = self.ranks[direction]
        rows = {f"R@{k}": ((ranks <= k).astype(float), lambda v: float(v.mean())) for k in AT}
        rows["MedR"] = (ranks.astype(float), lambda v: float(np.median(v)))
        rows["mAP"] = (self.precision[direction], lambda v: float(v.mean()))
        return rows


def search(distances: Num[np.ndarray, "s v"], owner: Int[np.ndarray, " s"], groups: Sequence[str]) -> Search:
    """Ranks both ways from the distances of sentences (rows) and videos; ties in the order of the numbers.

    Args:
        owner: the video of each sentence; groups: of the videos.
    """
    relevant = owner[:, None] == np.arange(distances.shape[1])
    told = np.unique(owner)  # videos without a sentence are found, but cannot ask
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    ways = (distances, relevant), (distances.T[told], relevant.T[told])
    ranks = tuple(ranking.first_rank(*way) for way in ways)
    precision = tuple(ranking.average_precision(*way) for way in ways)
    return Search(ranks, precision, (names[owner], names[told]))  # type: ignore[arg-type]


def by_bits(videos: Bool[np.ndarray, "v n"], sentences: Bool[np.ndarray, "s n"]) -> Int[np.ndarray, "s v"]:
    """Hamming distances of sentences and videos."""
    return ranking.hamming(sentences, videos)


def by_cosine(videos: Float[np.ndarray, "v d"], sentences: Float[np.ndarray, "s d"]) -> Float[np.ndarray, "s v"]:
    """1 − cosine of unit vectors."""
    return 1 - sentences @ videos.T


def resampled(
    values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"], statistic: Callable[[np.ndarray], float]
) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic, drawing whole groups."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0])
    members = np.split(values[order], starts[1:])
    rng = np.random.default_rng(0)
    draws = [
        statistic(np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]))
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def measure(model: Any, loader: Iterable[dict[str, Any]]) -> dict[str, Metric]:
    """ "R@1 text to video" ... "mAP video to text" of the codes; "R@10 kept, text to video": share of cosine's.

    Raises:
        InputError: there is nothing to search.
    """
    library, chosen = None, []
    for batch in loader:
        library = batch["library"]
        chosen += batch["video"].tolist()
    if library is None:
        raise InputError("no videos to measure on; name another --split")
    seen, said = model.see(library)
    place = {video: index for index, video in enumerate(chosen)}
    asked = [i for i, video in enumerate(library.owner.tolist()) if video in place]
    owner = np.array([place[int(library.owner[i])] for i in asked])
    seen, said = seen[chosen], said[asked]
    groups = [library.groups[video] for video in chosen]
    random = peers.random_projections(seen.shape[1], model.config.bits)
    codes = model.hash(seen), model.hash(said, sentences=True)
    found = {
        "codes": search(by_bits(*(part.cpu().numpy() for part in codes)), owner, groups),
        "cosine": search(by_cosine(seen.float().cpu().numpy(), said.float().cpu().numpy()), owner, groups),
        "random projections": search(
            by_bits(random(seen.cpu()).numpy(), random(said.cpu(), sentences=True).numpy()), owner, groups
        ),
    }
    return table(found, len(chosen))


def table(found: dict[str, Search], videos: int) -> dict[str, Metric]:
    """The metrics of `measure` from the searches by name; "codes" are what is measured, the others stand beside."""
    out: dict[str, Metric] = {}
    own = found["codes"]
    for direction, name in enumerate(DIRECTIONS):
        beside = {key: other.values(direction) for key, other in found.items() if key != "codes"}
        for number, (values, statistic) in own.values(direction).items():
            baselines = {key: statistic(rows[number][0]) for key, rows in beside.items()}
            if direction == 0 and number.startswith("R@"):
                baselines["chance"] = min(1.0, int(number[2:]) / videos)
            low, high = resampled(values, own.groups[direction], statistic)
            value = statistic(values)
            out[f"{number} {name}"] = Metric(value, min(low, value), max(high, value), len(values), baselines=baselines)
    hits, ceiling = ((s.ranks[0] <= 10).astype(float) for s in (own, found["cosine"]))
    share = Metric(float(hits.mean() / max(ceiling.mean(), 1e-9)), n=len(hits))
    out[f"R@10 kept, {DIRECTIONS[0]}"] = share
    return out


def paired(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> tuple[float, float, float]:
    """Mean of a − b over the same queries, with its 95 % interval, drawing whole groups."""
    difference = a - b
    return float(difference.mean()), *resampled(difference, groups, lambda values: float(values.mean()))


def kept(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> tuple[float, float, float]:
    """Mean of a as a share of the mean of b, with its 95 % interval, drawing whole groups."""
    names, inverse = np.unique(groups, return_inverse=True)
    top, bottom = (np.bincount(inverse, weights=values, minlength=len(names)) for values in (a, b))
    picks = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    low, high = np.percentile(top[picks].sum(1) / bottom[picks].sum(1).clip(1e-9), [2.5, 97.5])
    return float(top.sum() / bottom.sum()), float(low), float(high)


def as_bits(net: Any, vectors: torch.Tensor, sentences: bool) -> Bool[np.ndarray, "b n"]:
    """Codes of anything that `peers` makes, as numpy."""
    return net(vectors, sentences=sentences).numpy()
