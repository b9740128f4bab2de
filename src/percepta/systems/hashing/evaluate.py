"""Numbers of an evaluation: recall, median rank and mean average precision, both directions, and their baselines.

Baselines of each number, on the same vectors: their cosine without any hashing (the ceiling), the sign of random
projections with as many bits, and chance. Intervals: bootstrap over videos, with all their sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num

from percepta.contract import Block, Evaluation, Loader
from percepta.errors import InputError
from percepta.metrics import Metric, ranking
from percepta.report import Gallery, Heading
from percepta.systems.hashing import baselines
from percepta.systems.hashing.library import encode_sentences, encode_videos, picture_of
from percepta.systems.hashing.model import Hasher

AT = (1, 5, 10)
DIRECTIONS = ("text to video", "video to text")
DRAWS = 1000  # of a bootstrap
PICTURE_SIDE = 320  # pixels, of an example


@dataclass(frozen=True)
class Search:
    """What came out of searching a collection in both directions; each attribute has one array for each direction.

    Attributes:
        ranks: of every query, the rank of its best right answer, from 1.
        precision: of every query, its average precision.
        groups: of every query, the number of its group; groups are drawn together for an interval.
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
    """Ranks in both directions; ties in the order of the numbers.

    Args:
        distances: of each sentence to each video.
        owner: the video of each sentence.
        groups: of the videos.
    """
    relevant = owner[:, None] == np.arange(distances.shape[1])
    queries = np.unique(owner)  # videos without a sentence are searched, but are no query
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    ways = (distances, relevant), (distances.T[queries], relevant.T[queries])
    ranks = tuple(ranking.first_rank(*way) for way in ways)
    precision = tuple(ranking.average_precision(*way) for way in ways)
    return Search(ranks, precision, (names[owner], names[queries]))  # type: ignore[arg-type]


def by_bits(videos: Bool[np.ndarray, "v n"], sentences: Bool[np.ndarray, "s n"]) -> Int[np.ndarray, "s v"]:
    """Hamming distances of sentences and videos."""
    return ranking.hamming(sentences, videos)


def by_cosine(videos: Float[np.ndarray, "v d"], sentences: Float[np.ndarray, "s d"]) -> Float[np.ndarray, "s v"]:
    """1 − cosine of unit vectors."""
    return 1 - sentences @ videos.T


def bootstrap(
    values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"], statistic: Callable[[np.ndarray], float]
) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic, drawing whole groups.

    Args:
        values: one for each query.
        groups: of the queries.
        statistic: of some values.
    """
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


def evaluate(model: Hasher, loader: Loader, *, examples: int = 0) -> Evaluation:
    """ "R@1 text to video" ... "mAP video to text" of the codes; "R@10 kept, text to video": share of cosine's.

    Args:
        model: what encodes and hashes.
        loader: batches of `data.Videos`.
        examples: how many sentences are shown with the first video of their search.

    Raises:
        InputError: there is nothing to search.
    """
    library, places, rows = None, [], []
    for batch in loader:
        library = batch["library"]
        some = batch["video"].tolist()
        places += some
        rows.append(encode_videos(model, library, some))
    if library is None:
        raise InputError("no videos to evaluate on; name another --split")
    videos, sentences = torch.cat(rows), encode_sentences(model, library)
    row_of = {video: row for row, video in enumerate(places)}
    asked = [i for i, video in enumerate(library.owner.tolist()) if video in row_of]
    owner = np.array([row_of[int(library.owner[i])] for i in asked])
    sentences = sentences[asked]
    groups = [library.groups[video] for video in places]
    random = baselines.random_projections(videos.shape[1], model.config.bits)
    codes = model.hash(videos), model.hash(sentences, sentences=True)
    distances = {
        "codes": by_bits(*(part.cpu().numpy() for part in codes)),
        "cosine": by_cosine(videos.float().cpu().numpy(), sentences.float().cpu().numpy()),
        "random projections": by_bits(random(videos.cpu()).numpy(), random(sentences.cpu(), sentences=True).numpy()),
    }
    searches = {name: search(table, owner, groups) for name, table in distances.items()}
    blocks: list[Block] = []
    if examples:
        chosen = np.unique(np.linspace(0, len(asked) - 1, min(examples, len(asked))).astype(int))
        first = distances["codes"].argmin(1)
        pictures = [
            (
                picture_of(library, places[first[i]], PICTURE_SIDE),
                f"“{library.sentences[asked[i]]}”\nits own video comes at rank {searches['codes'].ranks[0][i]}",
            )
            for i in chosen
        ]
        blocks = [Heading("The first answer to some of the sentences"), Gallery(pictures)]
    return Evaluation(metrics_of(searches, len(places)), blocks)


def metrics_of(searches: dict[str, Search], videos: int) -> dict[str, Metric]:
    """The metrics of `evaluate`.

    Args:
        searches: by name; "codes" is what is evaluated, "cosine" and the others are baselines.
        videos: how many were searched.
    """
    out: dict[str, Metric] = {}
    own = searches["codes"]
    for direction, name in enumerate(DIRECTIONS):
        beside = {key: other.values(direction) for key, other in searches.items() if key != "codes"}
        for number, (values, statistic) in own.values(direction).items():
            baselines = {key: statistic(rows[number][0]) for key, rows in beside.items()}
            if direction == 0 and number.startswith("R@"):
                baselines["chance"] = min(1.0, int(number[2:]) / videos)
            low, high = bootstrap(values, own.groups[direction], statistic)
            value = statistic(values)
            out[f"{number} {name}"] = Metric(value, min(low, value), max(high, value), len(values), baselines=baselines)
    hits, ceiling = ((s.ranks[0] <= 10).astype(float) for s in (own, searches["cosine"]))
    share = Metric(float(hits.mean() / max(ceiling.mean(), 1e-9)), n=len(hits))
    out[f"R@10 kept, {DIRECTIONS[0]}"] = share
    return out


def paired(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> tuple[float, float, float]:
    """Mean of a − b over the same queries, with its 95 % interval.

    Args:
        a: a value of each query.
        b: another one.
        groups: of the queries; the bootstrap draws whole groups.
    """
    difference = a - b
    return float(difference.mean()), *bootstrap(difference, groups, lambda values: float(values.mean()))


def ratio(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]
) -> tuple[float, float, float]:
    """Mean of a as a share of the mean of b, with its 95 % interval; arguments as `paired`.

    Args:
        a: n numbers.
        b: n numbers of the same samples.
        groups: what is drawn together.
    """
    names, inverse = np.unique(groups, return_inverse=True)
    top, bottom = (np.bincount(inverse, weights=values, minlength=len(names)) for values in (a, b))
    picks = np.random.default_rng(0).integers(len(names), size=(DRAWS, len(names)))
    low, high = np.percentile(top[picks].sum(1) / bottom[picks].sum(1).clip(1e-9), [2.5, 97.5])
    return float(top.sum() / bottom.sum()), float(low), float(high)
