"""Self-distillation: a classifier that learns from its own answers, with no teacher beside it.

DLB (Shen, Xu, Yang, Li, Guo: Self-Distillation from the Last Mini-Batch for Consistency Regularization, CVPR 2022)
takes two random views of each picture. In step t the network sees the first view of batch t and, in the same pass, the
second view of batch t − 1, whose first view it saw a step before; what it answered then teaches what it answers
now. With z the logits of a picture of batch t − 1, sg the stopped gradient, T the temperature, and n pictures a batch:

    loss = CE(both halves, 2n pictures) + α · T² · KL(softmax(sg z_before / T) ‖ softmax(z_now / T))

The first step of all has no batch before it and is plain cross-entropy. Beside DLB stands what it has to be compared
with: cross-entropy on one view, cross-entropy on the same two views in the same order ("views"), label smoothing on
these views, CS-KD (Yun et al., CVPR 2020), DDGSD (Xu & Liu, AAAI 2019); and "recall", a variant of ours that also
remembers what was answered to every picture in all epochs before.

A system switches between them by one setting: `objective(config.self_distill, forward, batch, step.memory, ...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from percepta.errors import InputError

Method = Literal["none", "views", "smoothing", "cskd", "ddgsd", "dlb", "recall"]
METHODS: tuple[str, ...] = get_args(Method)
CARRIED = frozenset({"views", "smoothing", "dlb", "recall"})  # they see the second view a step later
SECOND = CARRIED | {"ddgsd"}  # they need a second view of each picture
LAST, TABLE = "last batch", "answers"  # what is kept in `step.memory`


class Answer(NamedTuple):
    """What a classifier gives for a batch."""

    logits: Float[Tensor, "b k"]
    features: Float[Tensor, "b c"]  # what the last linear layer reads


Forward = Callable[[Tensor], Answer]


def objective(
    method: str,
    forward: Forward,
    batch: Mapping[str, Any],
    memory: MutableMapping[str, Any],
    *,
    temperature: float = 3.0,
    alpha: float = 1.0,
    smoothing: float = 0.1,
    mmd: float = 5e-4,
    memory_weight: float = 0.0,
    memory_decay: float = 0.7,
    memory_power: float = 1.0,
    disagreement_weight: float = 0.0,
) -> dict[str, Tensor]:
    """The loss of one training step.

    Args:
        method: one of `METHODS`.
        forward: pictures `b 3 h w` to an `Answer`; called once a step (twice by "cskd").
        batch: {"first": n 3 h w, a random view; "label": n, 0 … k − 1}; where `needs` says so "second", another
            view of the same pictures, or "partner", another picture of the same label each; for "recall" also
            "index": n, which pictures of the training set these are, and "count", of how many.
        memory: `step.memory`: what is kept between steps, across epochs, with the checkpoint.
        temperature, alpha: T and α of DLB; of CS-KD and DDGSD as well.
        smoothing: share of a label that "smoothing" spreads over all classes.
        mmd: weight of DDGSD's distance between the mean features of its views.
        memory_weight: for "recall", the share of the target that the remembered answers have, 0..1; grows as training
            goes on.
        memory_decay: for "recall", the decay per visit of what is remembered.
        memory_power: for "recall", the power to which the remembered answers are taken before they are a target, 1 or
            more.
        disagreement_weight: for "recall", how much `memory_weight` depends on whether the remembered answers speak
            against the label: it is multiplied by (1 − p(label) / max p) to this power. 0: not at all; at 1 a label
            that was always met stays whole.

    Returns:
        {"loss", "ce": cross-entropy with the targets, "right": share of "first" whose label is met, and "distil", the
        term that teaches (0 in the first step and for methods that have none)}: scalars.

    Raises:
        InputError: an unknown method, or something is missing in the batch.
    """
    if method not in METHODS:
        raise InputError(f"no way of self-distillation is called {method!r}; there are: {', '.join(METHODS)}")
    if missing := [name for name in needs(method) if name not in batch]:
        raise InputError(f'self_distill "{method}" needs {", ".join(missing)} in the batch, which has {sorted(batch)}')
    first, label = batch["first"], batch["label"]
    n = len(label)
    teaching = None
    if method in CARRIED:
        last = memory.get(LAST)
        pictures = first if last is None else torch.cat([first, last["second"]])
        labels = label if last is None else torch.cat([label, last["label"]])
        logits = forward(pictures).logits.float()
        if method == "recall":
            index = batch["index"] if last is None else torch.cat([batch["index"], last["index"]])
            settings = memory_weight, memory_decay, memory_power, disagreement_weight
            target = _recalled(memory, batch["count"], index, logits, labels, *settings)
            ce = soft_cross_entropy(logits, target)
        else:
            ce = functional.cross_entropy(logits, labels, label_smoothing=smoothing * (method == "smoothing"))
        if last is not None and method in ("dlb", "recall"):
            teaching = alpha * distil(last["logits"], logits[n:], temperature)
        memory[LAST] = {"second": batch["second"], "label": label}
        if method in ("dlb", "recall"):
            memory[LAST]["logits"] = logits[:n].detach()
        if method == "recall":
            memory[LAST]["index"] = batch["index"]
    elif method == "ddgsd":
        logits, features = forward(torch.cat([first, batch["second"]]))
        logits = logits.float()
        ce = functional.cross_entropy(logits, torch.cat([label, label]))
        both = distil(logits[n:], logits[:n], temperature) + distil(logits[:n], logits[n:], temperature)
        apart = (features[:n].float().mean(0) - features[n:].float().mean(0)).square().sum()
        teaching = alpha * both + mmd * apart
    else:
        logits = forward(first).logits.float()
        ce = functional.cross_entropy(logits, label)
        if method == "cskd":
            with torch.no_grad():
                partner = forward(batch["partner"]).logits.float()
            teaching = alpha * distil(partner, logits, temperature)
    with torch.no_grad():
        right = (logits[:n].argmax(1) == label).float().mean()
    if teaching is None:
        return {"loss": ce, "ce": ce, "distil": torch.zeros_like(ce), "right": right}
    return {"loss": ce + teaching, "ce": ce, "distil": teaching, "right": right}


def needs(method: str) -> tuple[str, ...]:
    """What a batch holds besides "first" and "label"."""
    second = ("second",) if method in SECOND else ()
    return second + {"cskd": ("partner",), "recall": ("index", "count")}.get(method, ())


def passes(method: str) -> float:
    """Pictures that go through the network per fresh picture and step, forward passes without gradient as a third."""
    return 2.0 if method in SECOND else 4 / 3 if method == "cskd" else 1.0


def distil(teacher: Float[Tensor, "n k"], student: Float[Tensor, "n k"], temperature: float) -> Float[Tensor, ""]:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), mean over the batch; the teacher gets no gradient.

    Args:
        teacher: logits; they get no gradient.
        student: logits.
        temperature: T, above 0.
    """
    target = functional.softmax(teacher.detach().float() / temperature, dim=1)
    answer = functional.log_softmax(student.float() / temperature, dim=1)
    return temperature**2 * functional.kl_div(answer, target, reduction="batchmean")


def soft_cross_entropy(logits: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Cross-entropy with targets that are distributions, mean over the batch."""
    return -(target * functional.log_softmax(logits, dim=1)).sum(1).mean()


@torch.no_grad()
def _recalled(
    memory: MutableMapping[str, Any],
    count: int,
    index: Int[Tensor, " m"],
    logits: Float[Tensor, "m k"],
    labels: Int[Tensor, " m"],
    memory_weight: float,
    decay: float,
    memory_power: float,
    disagreement_weight: float,
) -> Float[Tensor, "m k"]:
    """Targets between the given labels and what was answered before; then remembers these answers too.

    With w = `memory_weight`, a target is (1 − w) · label + w · the running mean of the answers to this picture in
    earlier steps, taken to the power of `memory_power` and brought to sum 1 (wrong labels make a network less certain
    than it should be); w is the smaller the better these answers meet the label (see `disagreement_weight`). Where
    there are no answers, it is the label alone. A mean that is all zero says that the picture has not been seen.
    """
    if TABLE not in memory:
        memory[TABLE] = logits.new_zeros(count, logits.shape[1])
    table = memory[TABLE]
    given = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    before = table[index]
    seen = before.sum(1, keepdim=True) > 0
    tiny = torch.finfo(before.dtype).tiny
    surer = before**memory_power
    surer = surer / surer.sum(1, keepdim=True).clamp_min(tiny)
    agreed = (before * given).sum(1, keepdim=True) / before.amax(1, keepdim=True).clamp_min(tiny)
    share = memory_weight * (1 - agreed) ** disagreement_weight
    target = torch.where(seen, (1 - share) * given + share * surer, given)
    # A picture may be there twice, where an epoch ends: the mean of both answers counts.
    own, place, often = index.unique(return_inverse=True, return_counts=True)
    answer = logits.new_zeros(len(own), logits.shape[1]).index_add_(0, place, functional.softmax(logits, dim=1))
    answer /= often[:, None]
    before = table[own]
    table[own] = torch.where(before.sum(1, keepdim=True) > 0, decay * before + (1 - decay) * answer, answer)
    return target
