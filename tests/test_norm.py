from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from percepta.nn.norm import AllReducedBatchNorm1d, AllReducedBatchNorm2d, FrozenBatchNorm, all_reduced

SHARDS = (slice(0, 2), slice(2, 6))  # of unequal sizes


def data(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 30 + torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def once(norm: nn.Module, x: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two steps in training: output, gradients (of a sum, which adds up over shards) and statistics."""
    norm(x - 1)
    x = x.clone().requires_grad_()
    y = norm(x)
    (y * target).sum().backward()
    assert x.grad is not None
    return {"y": y.detach(), "x": x.grad, "w": norm.weight.grad, "b": norm.bias.grad, **norm.state_dict()}


def make(kind: type[nn.Module], channels: int, momentum: float | None) -> nn.Module:
    norm = kind(channels, momentum=momentum)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, channels))
        norm.bias.copy_(torch.linspace(-1, 1, channels))
    return norm


def child(rank: int, folder: str, shape: tuple[int, ...], momentum: float | None) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    x, target = data(shape)
    norm = make(AllReducedBatchNorm2d if len(shape) == 4 else AllReducedBatchNorm1d, shape[1], momentum)
    torch.save(once(norm, x[SHARDS[rank]], target[SHARDS[rank]]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize(("shape", "momentum"), [((6, 3, 4, 5), 0.1), ((6, 4), None)])
def test_two_processes_are_one_batch(tmp_path: Path, shape: tuple[int, ...], momentum: float | None) -> None:
    mp.spawn(child, (str(tmp_path), shape, momentum), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    whole = once(make(nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d, shape[1], momentum), *data(shape))
    joined = {name: torch.cat([part[name] for part in parts]) for name in "yx"}
    joined |= {name: parts[0][name] + parts[1][name] for name in "wb"}
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(parts[0][name], parts[1][name], rtol=0, atol=0)
        joined[name] = parts[0][name]
    for name, value in joined.items():
        torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_alone_it_is_torchs_own() -> None:
    for training in (True, False):
        ours, theirs = (make(kind, 3, 0.1).train(training) for kind in (AllReducedBatchNorm2d, nn.BatchNorm2d))
        a, b = (once(norm, *data((6, 3, 4, 5))) for norm in (ours, theirs))
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_frozen_is_a_scale_and_a_shift_in_training_too() -> None:
    source = make(nn.BatchNorm2d, 3, 0.1)
    source(data((6, 3, 4, 5))[0])
    frozen = FrozenBatchNorm(3)
    frozen.load_state_dict(source.state_dict())
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    x = data((2, 3, 4, 5))[1]
    torch.testing.assert_close(frozen.train()(x), source.eval()(x))
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
    assert not any(value.requires_grad for value in frozen.parameters())


def test_a_network_is_converted_in_place_and_keeps_its_names() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm1d(2), FrozenBatchNorm(2)))
    names, tensor = list(network.state_dict()), network[1].weight
    network = all_reduced(network)
    assert list(network.state_dict()) == names and network[1].weight is tensor
    kinds = [type(module) for module in (network[1], network[2][0], network[2][1])]
    assert kinds == [AllReducedBatchNorm2d, AllReducedBatchNorm1d, FrozenBatchNorm]
    assert isinstance(network[1], nn.BatchNorm2d)  # who looks for batch norms still finds them
    assert type(all_reduced(nn.BatchNorm2d(2))) is AllReducedBatchNorm2d
