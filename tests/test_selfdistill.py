"""Self-distillation: the paper's equations against a slow reference, its order of pictures, its memory."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from percepta.nn import selfdistill
from percepta.nn.selfdistill import LAST, METHODS, TABLE, Answer, distil, needs, objective

CLASSES, N, COUNT = 4, 3, 7


class Tiny(nn.Module):
    """A linear classifier of 2 × 2 pictures that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(12, 5), nn.Linear(5, CLASSES)
        self.given: list[Tensor] = []

    def forward(self, image: Tensor) -> Answer:
        self.given.append(image)
        features = self.body(image.flatten(1)).tanh()
        return Answer(self.head(features), features)


def network(seed: int = 0) -> Tiny:
    torch.manual_seed(seed)
    return Tiny()


def batch(step: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    views = {name: torch.randn(N, 3, 2, 2, generator=generator) for name in ("first", "second", "partner")}
    label = torch.randint(CLASSES, (N,), generator=generator)
    return {**views, "label": label, "index": torch.randperm(COUNT, generator=generator)[:N], "count": COUNT}


def entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy, one picture at a time."""
    return torch.stack([-row.softmax(0)[int(k)].log() for row, k in zip(logits, label, strict=True)]).mean()


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Σ p log(p / q), one picture and one class at a time."""
    total = torch.zeros(())
    for p_row, q_row in zip(teacher, student, strict=True):
        for p, q in zip((p_row / temperature).softmax(0), (q_row / temperature).softmax(0), strict=True):
            total = total + p * (p / q).log()
    return total / len(teacher)


def steps(method: str, model: Tiny, count: int, memory: dict[str, Any] | None = None, first: int = 0, **more: Any):
    """Runs steps with updates of the weights; returns losses and the memory."""
    memory = {} if memory is None else memory
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for step in range(first, first + count):
        values = objective(method, model, batch(step), memory, **more)
        optimizer.zero_grad()
        values["loss"].backward()
        optimizer.step()
        losses.append({name: value.detach() for name, value in values.items()})
    return losses, memory


def test_dlb_is_the_papers_loss_step_by_step() -> None:
    """Against a plain loop that keeps everything itself, over updates of the weights; step 0 is cross-entropy."""
    temperature, alpha = 2.5, 0.7
    ours, _ = steps("dlb", network(), 4, temperature=temperature, alpha=alpha)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = None
    for step, got in enumerate(ours):
        now = batch(step)
        if before is None:
            logits = model(now["first"]).logits
            expected = entropy(logits, now["label"])
        else:
            last, taught = before
            logits = model(torch.cat([now["first"], last["second"]])).logits
            ce = entropy(logits, torch.cat([now["label"], last["label"]]))
            expected = ce + alpha * temperature**2 * divergence(taught, logits[N:], temperature)
        before = now, logits[:N].detach()
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        assert torch.allclose(got["loss"], expected, rtol=1e-5), step


@pytest.mark.parametrize("method", ["views", "smoothing", "dlb", "recall"])
def test_every_mini_batch_overlaps_the_one_before_by_half(method: str) -> None:
    """The network sees the first view of batch t, then the second view of batch t − 1, in one pass."""
    model = network()
    steps(method, model, 3)
    assert torch.equal(model.given[0], batch(0)["first"])
    for t in (1, 2):
        assert torch.equal(model.given[t], torch.cat([batch(t)["first"], batch(t - 1)["second"]]))


def test_views_is_dlb_without_its_term() -> None:
    """The same pictures in the same order: with alpha 0 every loss and weight agrees to the bit."""
    plain, without = network(), network()
    a, _ = steps("views", plain, 4)
    b, _ = steps("dlb", without, 4, alpha=0.0)
    assert [float(x["loss"]) for x in a] == [float(x["loss"]) for x in b]
    assert all(torch.equal(x, y) for x, y in zip(plain.parameters(), without.parameters(), strict=True))
    taught = network()
    steps("dlb", taught, 4)
    assert not torch.equal(taught.head.weight, plain.head.weight)


def test_recall_without_trust_is_dlb() -> None:
    a, _ = steps("dlb", network(), 4)
    b, _ = steps("recall", network(), 4, memory_weight=0.0)
    for x, y in zip(a, b, strict=True):
        assert torch.allclose(x["loss"], y["loss"], rtol=1e-5)


@pytest.mark.parametrize(("memory_power", "disagreement_weight"), [(1.0, 0.0), (2.5, 0.0), (2.0, 1.0), (1.0, 0.5)])
def test_recall_remembers_the_running_mean_of_answers(memory_power: float, disagreement_weight: float) -> None:
    """Against a loop over single pictures, a picture that is there twice in a step included."""
    memory_weight, decay = 0.6, 0.7
    model, memory = network(), {}
    table: dict[int, Tensor] = {}
    last = None
    for step in range(6):
        now = batch(step)
        with torch.no_grad():
            settings = {
                "memory_weight": memory_weight,
                "memory_decay": decay,
                "memory_power": memory_power,
                "disagreement_weight": disagreement_weight,
            }
            given = objective("recall", model, now, memory, **settings, alpha=0.0)["loss"]
            pictures = [*zip(now["first"], now["label"], now["index"].tolist(), strict=True)]
            if last is not None:
                pictures += zip(last["second"], last["label"], last["index"].tolist(), strict=True)
            terms, answers = [], {}
            for picture, label, i in pictures:
                logits = model(picture[None]).logits[0]
                target = nn.functional.one_hot(label, CLASSES).float()
                if i in table:
                    surer = table[i] ** memory_power
                    share = memory_weight * (1 - table[i][label] / table[i].max()) ** disagreement_weight
                    target = (1 - share) * target + share * surer / surer.sum()
                terms.append(-(target * logits.log_softmax(0)).sum())
                answers.setdefault(i, []).append(logits.softmax(0))
        assert torch.allclose(given, torch.stack(terms).mean(), rtol=1e-5)
        for i, rows in answers.items():
            mean = torch.stack(rows).mean(0)
            table[i] = decay * table[i] + (1 - decay) * mean if i in table else mean
        last = now
    for i in range(COUNT):
        assert torch.allclose(memory[TABLE][i], table.get(i, torch.zeros(CLASSES)), atol=1e-6)


def test_cskd_learns_from_a_partner_without_gradient() -> None:
    model, now = network(), batch(0)
    got = objective("cskd", model, now, {}, temperature=4.0, alpha=0.5)
    logits, partner = model(now["first"]).logits, model(now["partner"]).logits.detach()
    expected = entropy(logits, now["label"]) + 0.5 * 16 * divergence(partner, logits, 4.0)
    assert torch.allclose(got["loss"], expected, rtol=1e-5)
    mine = torch.autograd.grad(got["loss"], model.head.weight)[0]
    assert torch.allclose(mine, torch.autograd.grad(expected, model.head.weight)[0], atol=1e-6)


def test_ddgsd_teaches_both_ways() -> None:
    model, now = network(), batch(0)
    got = objective("ddgsd", model, now, {}, temperature=3.0, mmd=0.25)
    a, b = model(now["first"]), model(now["second"])
    ce = (entropy(a.logits, now["label"]) + entropy(b.logits, now["label"])) / 2
    both = divergence(b.logits.detach(), a.logits, 3.0) + divergence(a.logits.detach(), b.logits, 3.0)
    apart = (a.features.mean(0) - b.features.mean(0)).square().sum()
    expected = ce + 9 * both + 0.25 * apart
    assert torch.allclose(got["loss"], expected, rtol=1e-5)
    mine = torch.autograd.grad(got["loss"], model.body.weight)[0]
    assert torch.allclose(mine, torch.autograd.grad(expected, model.body.weight)[0], atol=1e-6)


def test_smoothing_spreads_the_label() -> None:
    model, now = network(), batch(0)
    got = objective("smoothing", model, now, {}, smoothing=0.2)["loss"]
    target = 0.8 * nn.functional.one_hot(now["label"], CLASSES) + 0.2 / CLASSES
    expected = -(target * model(now["first"]).logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_memory_goes_on_where_it_was_saved(method: str) -> None:
    """Stopped after two of four steps, saved as a checkpoint saves it, resumed: every bit the same."""
    straight, stopped = network(), network()
    expected, _ = steps(method, straight, 4)
    _, memory = steps(method, stopped, 2)
    file = io.BytesIO()
    torch.save({"memory": memory, "model": stopped.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = network(seed=9)
    again.load_state_dict(state["model"])
    got, _ = steps(method, again, 2, state["memory"], first=2)
    assert [float(x["loss"]) for x in got] == [float(x["loss"]) for x in expected[2:]]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_remembered_has_no_gradient(method: str) -> None:
    _, memory = steps(method, network(), 2)
    held = [*memory.get(LAST, {}).values(), *([memory[TABLE]] if TABLE in memory else [])]
    assert not any(value.requires_grad for value in held)
    assert bool(held) == (method in selfdistill.CARRIED)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_one_works(method: str) -> None:
    model, memory = network(), {}
    for step in range(3):
        one = {key: value[:1] if isinstance(value, Tensor) else value for key, value in batch(step).items()}
        values = objective(method, model, one, memory)
        assert values["loss"].isfinite() and values["loss"].ndim == 0
    assert (values["distil"].item() > 0) == (method not in ("none", "views", "smoothing"))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_missing_is_named(method: str) -> None:
    for name in needs(method):
        short = {key: value for key, value in batch(0).items() if key != name}
        with pytest.raises(ValueError, match=name):
            objective(method, network(), short, {})
    enough = {key: batch(0)[key] for key in ("first", "label", *needs(method))}
    assert objective(method, network(), copy.copy(enough), {})["loss"].isfinite()


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'dbl'.*dlb"):
        objective("dbl", network(), batch(0), {})


@given(st.integers(0, 10_000), st.floats(0.5, 8.0), st.floats(-5.0, 5.0))
def test_distillation_is_a_divergence(seed: int, temperature: float, shift: float) -> None:
    """Never negative, 0 for the same answers however their logits are shifted, no gradient into the teacher."""
    generator = torch.Generator().manual_seed(seed)
    teacher, student = torch.randn(2, 5, 3, generator=generator).unbind()
    teacher.requires_grad_()
    student.requires_grad_()
    value = distil(teacher, student, temperature)
    assert value.item() >= -1e-6
    assert abs(distil(teacher, teacher + shift, temperature).item()) < 1e-4
    value.backward()
    assert teacher.grad is None and student.grad is not None
    assert torch.allclose(value, temperature**2 * divergence(teacher, student, temperature), rtol=1e-3, atol=1e-5)
