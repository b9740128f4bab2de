"""Numbers of an evaluation: how well the order of unseen pictures is guessed for people who were held out.

Every held-out person is tested on pictures that nobody's score was used for, after 0, 10 and 100 of their own ratings
of other pictures (10 draws). SROCC is the mean over people of Spearman's rank correlation; people who gave all test
pictures one score have none and are left out. Intervals come from resampling people; differences
are paired.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from percepta.contract import Batch, Block, Evaluation
from percepta.errors import InputError
from percepta.metrics import Metric, interval
from percepta.metrics.correlation import pearson, spearman
from percepta.report import Dots, Heading
from percepta.systems.aesthetics.model import AestheticsNetwork
from percepta.systems.aesthetics.taste import ridge

SHOTS = (0, 10, 100)
DRAWS = 10
MIN_TEST_RATINGS = 5  # test ratings that a person needs
AGES = {"age below 30": 30, "age 30 to 44": 45, "age 45 and more": float("inf")}
CROWD_PENALTY, OWN_PENALTY = 1.0, 3.0  # of the ridge baseline: the best of those tried on OASIS, for its own good
Numbers = dict[str, dict[int, float]]  # model -> ratings -> number


@dataclass
class Outcome:
    """What one person's test gave.

    Attributes:
        name: of the person.
        profile: what is known of the person.
        srocc: rank correlation: "model", "no profile", "ridge" -> ratings -> mean over draws.
        plcc: linear correlation, in the same way.
        mae: mean absolute error, in the same way.
        oracle: SROCC of the crowd's true mean of the same pictures.
        bias: "model", "crowd" -> mean of prediction minus score, after 10 ratings and before any.
        held: share of the ratings inside the 80 % interval after 10 ratings; NaN where the head gives none.
        seen: SROCC of the ridge on pictures whose crowd it learned from, and of these pictures' true crowd.
    """

    name: str
    profile: Mapping[str, str | float]
    srocc: Numbers = field(default_factory=lambda: defaultdict(dict))
    plcc: Numbers = field(default_factory=lambda: defaultdict(dict))
    mae: Numbers = field(default_factory=lambda: defaultdict(dict))
    bias: dict[str, float] = field(default_factory=dict)
    oracle: float = float("nan")
    seen: tuple[float, float] = (float("nan"), float("nan"))
    held: float = float("nan")


def evaluate(model: AestheticsNetwork, loader: Iterable[Batch], *, examples: int = 0) -> Evaluation:
    """Tests every person of every batch and sums up; see the top of this file.

    Args:
        model: in eval mode.
        loader: batches of `data.People`.
        examples: above 0: also plots of error and bias for each group of people.

    Returns:
        "SROCC, k ratings", "PLCC, ...", "MAE, ..." for k of 0, 10 and 100, beside the same model that is told nothing
        about the person ("no profile"; at 0 ratings that is the crowd's model), ridge regression on frozen features,
        and the crowd's true mean; "gained over ..." as paired differences; the ridge on pictures that it saw; the
        share of ratings within their 80 % intervals; errors and biases by age, gender and education.

    Raises:
        InputError: nobody can be tested.
    """
    metrics = summary(tests(model, loader))
    return Evaluation(metrics, fairness(metrics) if examples else ())


def tests(model: AestheticsNetwork, loader: Iterable[Batch]) -> list[Outcome]:
    """The test of every person who has an order to be guessed.

    Raises:
        InputError: there is nobody.
    """
    outcomes: list[Outcome] = []
    ridges: dict[int, Ridge] = {}
    skipped = 0
    for batch in loader:
        rows = model.extract(batch["pictures"])
        features, attributes = model.normalise(rows), model.attributes(rows)
        for row in range(len(batch["names"])):
            outcome = _person(model, features, attributes, batch, row, ridges)
            if outcome is None:
                skipped += 1
            else:
                outcomes.append(outcome)
    if not outcomes:
        raise InputError(
            f"nobody can be tested: all {skipped} people have fewer than {MIN_TEST_RATINGS} different test ratings"
        )
    return outcomes


def _person(
    model: AestheticsNetwork,
    features: Float[Tensor, "n w"],
    attributes: Float[Tensor, "n 8"],
    batch: Batch,
    row: int,
    ridges: dict[int, Ridge],
) -> Outcome | None:
    """The test of one person; None where their test ratings have no order."""
    scores = batch["scores"][row]
    own_fold = int(batch["person_fold"][row])
    rated, hidden = ~scores.isnan(), batch["picture_fold"] == own_fold
    test, pool = torch.where(rated & hidden)[0], torch.where(rated & ~hidden)[0]
    truth = scores[test].numpy()
    if len(test) < MIN_TEST_RATINGS or len(set(truth.tolist())) < 2:
        return None
    member = int(batch["member"][row])
    members = None if batch["ensemble"] else (member,)
    place = next((i for i, fold in enumerate(model.config.members) if fold == own_fold), 0)
    if place not in ridges:
        ridges[place] = Ridge(_plain(model, features), batch["means"][place])
    outcome = Outcome(batch["names"][row], batch["profiles"][row])
    crowd = batch["crowd"][place]
    outcome.oracle = srocc(crowd[test].numpy(), truth)
    seen = pool[~crowd[pool].isnan()]
    known = ridges[place].predict(seen, pool[:0], scores), crowd[seen].numpy()
    outcome.seen = srocc(known[0], scores[seen].numpy()), srocc(known[1], scores[seen].numpy())
    rng = np.random.default_rng(hash_of(outcome.name))
    for shots in SHOTS:
        found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for _ in range(1 if shots == 0 or shots >= len(pool) else DRAWS):
            shown = pool[torch.from_numpy(rng.permutation(len(pool))[:shots].astype(np.int64))]
            answers = {"ridge": ridges[place].predict(test, shown, scores)}
            for name, traits in (("model", batch["traits"][row]), ("no profile", None)):
                person = model.head.person(traits, features[shown], attributes[shown], scores[shown], members)
                mean, deviation = person.predict(features[test], attributes[test])
                answers[name] = mean.numpy()
                if name == "model" and shots == 10:
                    wide = 1.2816 * person.rating_deviation(deviation).numpy()
                    outcome.held = float((np.abs(answers[name] - truth) <= wide).mean())
            low, high = model.config.scale.low, model.config.scale.high
            for name, answer in answers.items():
                error = np.clip(answer, low, high) - truth
                found[name].append((srocc(answer, truth), plcc(answer, truth), float(np.abs(error).mean())))
                if (name, shots) in (("model", 10), ("no profile", 0)):
                    outcome.bias["crowd" if shots == 0 else "model"] = float(error.mean())
        for name, rows in found.items():
            means = np.mean(rows, axis=0)
            outcome.srocc[name][shots], outcome.plcc[name][shots], outcome.mae[name][shots] = map(float, means)
    return outcome


def hash_of(name: str) -> int:
    """A number that follows from a name, in every process the same."""
    return int.from_bytes(name.encode()[-8:].rjust(8, b"\0"), "big")


def _plain(model: AestheticsNetwork, features: Float[Tensor, "n w"]) -> Float[Tensor, "n f"]:
    """What the ridge baseline stands on: the pooled head features of the frozen encoder, each with variance 1 /
    width."""
    rows = features[:, model.head_mean] if model.config.encoder == "lite0" else features
    return torch.nn.functional.normalize(rows - rows.mean(0), dim=0) * (len(rows) / rows.shape[1]) ** 0.5


class Ridge:
    """The baseline: ridge regression of the crowd's mean on frozen features, then of what a person's ratings leave."""

    def __init__(self, rows: Float[Tensor, "n f"], means: Float[Tensor, " n"]) -> None:
        known = ~means.isnan()
        self.rows = rows
        self.level = means[known].mean()
        self.crowd = rows @ ridge(rows[known], means[known] - self.level, CROWD_PENALTY)[0] + self.level

    def predict(self, wanted: Tensor, shown: Tensor, scores: Float[Tensor, " n"]) -> Float[np.ndarray, " w"]:
        """Scores of `wanted` pictures for somebody whose `scores` of `shown` pictures may be used.

        Args:
            wanted: places of the pictures to score.
            shown: places of the pictures whose scores may be used.
            scores: the person's, of all pictures.
        """
        answer = self.crowd[wanted]
        if len(shown):
            left = scores[shown] - self.crowd[shown]
            weights = ridge(self.rows[shown], left - left.mean(), OWN_PENALTY)[0]
            answer = answer + left.mean() + self.rows[wanted] @ weights
        return answer.numpy()


def srocc(guess: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation; 0 where guesses order nothing (constant or not known), NaN where the truth is
    constant."""
    if len(truth) == 0 or np.ptp(truth) == 0:
        return float("nan")
    return spearman(guess, truth, constant=0.0) if np.isfinite(guess).all() else 0.0


def plcc(guess: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]) -> float:
    """Pearson's linear correlation; 0 and NaN as in `srocc`."""
    if len(truth) == 0 or np.ptp(truth) == 0:
        return float("nan")
    return pearson(guess, truth) if np.ptp(guess) > 0 else 0.0


def summary(outcomes: list[Outcome]) -> dict[str, Metric]:
    """Means over people with intervals; see `evaluate`."""
    out: dict[str, Metric] = {}
    oracle = float(np.nanmean([o.oracle for o in outcomes]))
    for shots in SHOTS:
        rows = {name: np.array([o.srocc[name][shots] for o in outcomes]) for name in ("model", "no profile", "ridge")}
        beside = {name: float(rows[name].mean()) for name in ("no profile", "ridge")}
        out[f"SROCC, {shots} ratings"] = _mean(rows["model"], beside | {"crowd's true mean (oracle)": oracle})
    for against in ("ridge", "no profile"):
        for shots in SHOTS:
            gain = [o.srocc["model"][shots] - o.srocc[against][shots] for o in outcomes]
            out[f"SROCC gained over {against}, {shots} ratings"] = _mean(np.array(gain), {})
    for title, name in (("PLCC", "plcc"), ("MAE", "mae")):
        for shots in SHOTS:
            rows = {key: np.array([getattr(o, name)[key][shots] for o in outcomes]) for key in outcomes[0].plcc}
            beside = {key: float(rows[key].mean()) for key in ("no profile", "ridge")}
            out[f"{title}, {shots} ratings"] = _mean(rows["model"], beside)
    seen = np.array([o.seen for o in outcomes if not np.isnan(o.seen).any()])
    if len(seen):
        beside = {"crowd's true mean (oracle)": float(seen[:, 1].mean())}
        out["SROCC of ridge on pictures that it saw with others' scores"] = _mean(seen[:, 0], beside)
    held = np.array([o.held for o in outcomes])
    if not np.isnan(held).all():
        out["ratings within their 80 % interval, 10 ratings"] = _mean(held[~np.isnan(held)], {})
    for group, members in groups(outcomes):
        errors = np.array([o.mae["model"][10] for o in members])
        crowd = float(np.mean([o.mae["no profile"][0] for o in members]))
        out[f"MAE, 10 ratings, {group}"] = _mean(errors, {"crowd's model": crowd})
        biases = np.array([o.bias["model"] for o in members])
        crowd = float(np.mean([o.bias["crowd"] for o in members]))
        out[f"bias, 10 ratings, {group}"] = _mean(biases, {"crowd's model": crowd})
    return out


def fairness(metrics: Mapping[str, Metric]) -> list[Block]:
    """Mean error and bias of every group of people, the personal model beside the crowd's."""
    blocks: list[Block] = []
    for kind, text in (
        ("MAE", "mean absolute error"),
        ("bias", "bias: above 0, scores are guessed too high"),
    ):
        start = f"{kind}, 10 ratings, "
        rows = {name.removeprefix(start): metric for name, metric in metrics.items() if name.startswith(start)}
        if rows:
            blocks.append(Dots(f"{text}, in points of the scale, after 10 ratings", rows))
    return [Heading("Error and bias by group of people"), *blocks] if blocks else []


def groups(outcomes: list[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    """People by age band, and by every choice of gender and education; groups of fewer than 5 are left out."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for name, value in outcome.profile.items():
            if name == "age" and not isinstance(value, str):
                found[next(band for band, end in AGES.items() if value < end)].append(outcome)
            elif name.lower() in ("age", "gender", "education", "educationallevel"):
                found[f"{name} {value}"].append(outcome)
    for group in sorted(found):
        if len(found[group]) >= 5:
            yield group, found[group]


def _mean(values: Float[np.ndarray, " n"], baselines: dict[str, float]) -> Metric:
    low, high = interval(values)
    return Metric(float(values.mean()), low, high, len(values), baselines=baselines)
