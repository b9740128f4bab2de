"""Why a picture got its score from this person: reasons that were tried out, not only read off.

Attributes. A picture is edited so that one attribute becomes what it is in the mean of the training pictures, and
scored again: gamma for brightness, the spread of luminance for contrast, saturation, white balance, unsharp masking or
blur, and for composition a shift of what is detailed towards the middle or away from it. The effect is the score of the
picture minus that of the edited one. An edit that cannot move its attribute at least half of the way is no evidence,
and there is nothing to say of an attribute that is about average.

Content. The share of an ImageNet class in the score is linear in the picture's concepts, so it can be read off: its
probability times what its name weighs for this person, against the mean picture. This linear effect is checked by
taking the class out of what was recognised (its probability to zero, the others scaled up) and scoring again. Words
where the two disagree in sign are left out. What the pooled maps know of the same thing stays in the picture: only what
the model holds of it in words is tried.

The same is done for nobody in particular; the difference is what is personal about a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from percepta.nn.concepts import WIDTH
from percepta.nn.imagenet import names
from percepta.systems.aesthetics.attributes import ATTRIBUTES, attributes, luminance
from percepta.systems.aesthetics.model import AestheticsNetwork, Person

MIN_DEVIATION = 0.3  # deviations from the mean that an attribute must have to be a reason
MIN_MOVED = 0.5  # of the way to the mean that an edit must go
MIN_EFFECT = 0.004  # of the scale's length
CANDIDATES = 12  # classes that are tried
STEP = 0.1  # of a word's share, taken away to read off what it weighs; any number where the score is linear
GENTLE = 0.03  # of the way, that the strongest edit has to be better by than none
GRID = 7  # strengths of an edit that are tried at a time

Picture = Float[Tensor, "3 h w"]
Pictures = Float[Tensor, "b 3 h w"]


@dataclass(frozen=True)
class Reason:
    """One thing about a picture, and what it did to the score.

    Attributes:
        name: "brightness", "Border collie".
        label: in words: "bright", "dark", "shows Border collie".
        effect: the score with it minus the score without, in points.
        crowd_effect: the same for nobody in particular.
        moved: how far the ablation went: standard deviations of the attribute, or the class's probability.
        kind: "attribute" or "content".
        linear_effect: for content, its share in the linear part of the model, in points; None for attributes.
    """

    name: str
    label: str
    effect: float
    crowd_effect: float
    moved: float
    kind: Literal["attribute", "content"]
    linear_effect: float | None = None

    @property
    def personal(self) -> float:
        """What of the effect is this person's own."""
        return self.effect - self.crowd_effect

    @property
    def text(self) -> str:
        """ "bright: +0.21 (crowd +0.05)" """
        return f"{self.label}: {self.effect:+.2f} (crowd {self.crowd_effect:+.2f})"


def reasons(
    model: AestheticsNetwork, image: Picture, person: Person, crowd: Person, points: float = 1.0, count: int = 6
) -> list[Reason]:
    """What raised or lowered the score of one picture, the largest effects first.

    Args:
        model: the network.
        image: RGB 0..1, as the encoder takes it.
        person: what the head's `person` gave for somebody.
        crowd: the same for nobody in particular.
        points: points of the user's scale in one of the study's.
        count: how many at most.
    """
    with torch.no_grad():
        base = model.features(image[None])[0]
        tried = [*by_attributes(model, image, base, person, crowd), *by_content(model, base, person, crowd)]
    study = model.config.scale
    least = MIN_EFFECT * (study.high - study.low)
    kept = sorted((reason for reason in tried if abs(reason.effect) >= least), key=lambda reason: -abs(reason.effect))
    return [_scaled(reason, points) for reason in kept[:count]]


# ------------------------------------------------------------------------------------------------ attributes


@dataclass(frozen=True)
class Edit:
    """How an attribute is changed.

    Attributes:
        attribute: which of `ATTRIBUTES` tells how far it went.
        less: a picture that has little of it, in words.
        more: a picture that has much of it, in words.
        apply: (pictures, one strength each) -> edited pictures; 0 changes nothing.
        reach: lowest and highest strength.
    """

    attribute: str
    less: str
    more: str
    apply: Callable[[Pictures, Float[Tensor, " b"]], Pictures]
    reach: tuple[float, float]


def by_attributes(
    model: AestheticsNetwork, image: Picture, base: Float[Tensor, " d"], person: Person, crowd: Person
) -> list[Reason]:
    """The attributes' effects, in points of the study; those that could not be tried out are left out.

    Args:
        model: the network.
        image: RGB 0..1, as the encoder takes it.
        base: its row of features.
        person: somebody, of `PeopleHead.person`.
        crowd: nobody in particular.
    """
    start = len(base) - len(ATTRIBUTES)
    tried: list[tuple[str, int]] = []
    rows = [base]
    for name, edit in EDITS.items():
        index = ATTRIBUTES.index(edit.attribute)
        if abs(model.attributes(base[None])[0, index]) >= MIN_DEVIATION:
            edited = toward(image, edit, float(model.mean[start + index]))
            tried.append((name, index))
            rows.append(model.features(edited[None])[0])
    values = model.attributes(torch.stack(rows))
    own, others = (_drop(model, torch.stack(rows), who) for who in (person, crowd))
    out = []
    for place, (name, index) in enumerate(tried):
        off, moved = float(values[0, index]), float(values[0, index] - values[place + 1, index])
        if MIN_MOVED <= moved / off <= 2 - MIN_MOVED:  # the right way, far enough and not much too far
            label = EDITS[name].more if off > 0 else EDITS[name].less
            out.append(Reason(name, label, own[place], others[place], abs(moved), "attribute"))
    return out


def toward(image: Picture, edit: Edit, target: float) -> Picture:
    """The picture with its attribute as near to `target` as the edit brings it; strengths from a grid, then a finer.

    Args:
        image: RGB 0..1.
        edit: what is changed.
        target: value of the edit's attribute.
    """
    index = ATTRIBUTES.index(edit.attribute)
    low, high = edit.reach
    before, best = (attributes(image[None])[0, index] - target).abs(), 0.0
    for _ in range(2):
        strengths = torch.linspace(low, high, GRID).to(image)
        tried = edit.apply(image.expand(GRID, -1, -1, -1), strengths)
        off = (attributes(tried)[:, index] - target).abs()
        place = int((off + GENTLE * before * strengths.abs() / max(edit.reach)).argmin())
        best, step = float(strengths[place]), (high - low) / (GRID - 1)
        low, high = max(edit.reach[0], best - step), min(edit.reach[1], best + step)
    return edit.apply(image[None], image.new_tensor([best]))[0]


def _gamma(images: Pictures, strength: Float[Tensor, " b"]) -> Pictures:
    return images.clamp_min(1e-4) ** (-strength).exp()[:, None, None, None]


def _contrast(images: Pictures, strength: Float[Tensor, " b"]) -> Pictures:
    middle = luminance(images).mean((1, 2))[:, None, None, None]
    return (middle + (images - middle) * strength.exp()[:, None, None, None]).clamp(0, 1)


def _saturation(images: Pictures, strength: Float[Tensor, " b"]) -> Pictures:
    grey = luminance(images)[:, None]
    return (grey + (images - grey) * strength.exp()[:, None, None, None]).clamp(0, 1)


def _warmth(images: Pictures, strength: Float[Tensor, " b"]) -> Pictures:
    """Red against blue, at the luminance that was."""
    gain = torch.stack([strength, torch.zeros_like(strength), -strength], 1).exp()[:, :, None, None]
    tinted = images * gain
    return (tinted * (luminance(images) / luminance(tinted).clamp_min(1e-4))[:, None]).clamp(0, 1)


def _sharpness(images: Pictures, strength: Float[Tensor, " b"]) -> Pictures:
    """Unsharp masking above 0, towards a blur below."""
    offsets = torch.arange(-3, 4).to(images)
    kernel = torch.exp(-0.5 * (offsets / 1.2) ** 2)
    kernel = (kernel / kernel.sum()).repeat(3, 1, 1, 1)
    padded = functional.pad(images, (3, 3, 3, 3), mode="reflect")
    blurred = functional.conv2d(functional.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)
    return (images + strength[:, None, None, None] * (images - blurred)).clamp(0, 1)


def _shift(images: Pictures, strength: Float[Tensor, " b"]) -> Pictures:
    """Brings the centre of detail to the middle (above 0) or away from it; what opens at the border is mirrored."""
    light = luminance(images[:1])
    gradient = light.diff(dim=2)[:, :-1].abs() + light.diff(dim=1)[:, :, :-1].abs()
    weight = gradient[0] / gradient.sum().clamp_min(1e-6)
    y, x = (torch.linspace(-1, 1, size).to(images) for size in weight.shape)
    centre = torch.stack([(weight.sum(0) * x).sum(), (weight.sum(1) * y).sum()])
    # Detail that is all around the middle has no direction of its own: any will do to bring it away.
    direction = centre / centre.norm() if centre.norm() > 1e-3 else centre.new_tensor([1.0, 0.0])
    theta = torch.eye(2, 3).to(images).repeat(len(images), 1, 1)
    theta[:, :, 2] = strength[:, None] * direction
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)


EDITS: dict[str, Edit] = {
    "brightness": Edit("brightness", "dark", "bright", _gamma, (-1.6, 1.6)),
    "contrast": Edit("contrast", "soft contrast", "strong contrast", _contrast, (-2.5, 1.6)),
    "colourfulness": Edit("colourfulness", "muted colours", "strong colours", _saturation, (-4.0, 1.6)),
    "warmth": Edit("warmth", "cool colours", "warm colours", _warmth, (-0.9, 0.9)),
    "sharpness": Edit("sharpness", "soft detail", "sharp detail", _sharpness, (-1.0, 4.0)),
    "composition": Edit("centring", "detail away from the middle", "detail in the middle", _shift, (-0.5, 0.5)),
}


# --------------------------------------------------------------------------------------------------- content


def by_content(model: AestheticsNetwork, base: Float[Tensor, " d"], person: Person, crowd: Person) -> list[Reason]:
    """The effects of what is shown, in points of the study; none where the encoder knows no words.

    Args:
        model: the network.
        base: the picture's row of features.
        person: somebody, of `PeopleHead.person`.
        crowd: nobody in particular.
    """
    if not hasattr(model, "concepts"):
        return []
    probability = model.class_probabilities(base[None])[0]
    chosen = probability.topk(CANDIDATES).indices
    without, less = taken_out(model, base, probability, chosen)
    own, others = (_drop(model, torch.cat([base[None], without]), who) for who in (person, crowd))
    linear_effect = [share / STEP for share in _drop(model, torch.cat([base[None], less]), person)]
    words = names()
    return [
        Reason(words[index], f"shows {words[index]}", effect, crowd_effect, float(probability[index]), "content", share)
        for index, effect, crowd_effect, share in zip(chosen.tolist(), own, others, linear_effect, strict=True)
        if effect * share > 0
    ]


def taken_out(
    model: AestheticsNetwork, base: Float[Tensor, " d"], probability: Float[Tensor, " 1000"], chosen: Tensor
) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"]]:
    """Features without each of the chosen classes, and features with `STEP` less of each one's share.

    Without class j the concepts are Σ_{i≠j} p_i v_i / (1 − p_j). Its share is p_j (v_j − mean), with the mean concepts
    of the training pictures: all shares together are what sets the picture's concepts apart from the mean ones.

    Args:
        model: the network; it has concepts.
        base: the picture's row of features.
        probability: of ImageNet's classes.
        chosen: places of k classes.
    """
    end = len(base) - len(ATTRIBUTES)
    part = slice(end - WIDTH, end)
    p, vectors = probability[chosen, None], model.concepts.vectors[chosen]
    without, less = base.repeat(len(chosen), 1), base.repeat(len(chosen), 1)
    without[:, part] = (base[part] - p * vectors) / (1 - p).clamp_min(1e-6)
    less[:, part] = base[part] - STEP * p * (vectors - model.mean[part])
    return without, less


def _drop(model: AestheticsNetwork, rows: Float[Tensor, "n d"], person: Person) -> list[float]:
    """By how much the score of the first row is above that of each further one."""
    scores = person.predict(model.normalise(rows), model.attributes(rows))[0]
    return (scores[0] - scores[1:]).tolist()


def _scaled(reason: Reason, points: float) -> Reason:
    linear_effect = None if reason.linear_effect is None else reason.linear_effect * points
    return replace(
        reason, effect=reason.effect * points, crowd_effect=reason.crowd_effect * points, linear_effect=linear_effect
    )
