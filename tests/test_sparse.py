from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from percepta.nn.sparse import (
    REACH,
    Down,
    Rules,
    Sites,
    SparseTensor,
    Submanifold,
    Up,
    check_coords,
    offsets,
    pack,
    parents,
)

SIDE = 12  # of the dense world that is compared with; even, so that halving is plain
SEEDS = st.integers(0, 2**31 - 1)


def scene(seed: int, sites: int, batches: int = 2, low: int = 0) -> Tensor:
    """Different sites in random order, some of them side by side."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randint(low, low + SIDE, (sites, 3), generator=generator)
    batch = torch.randint(0, batches, (sites, 1), generator=generator)
    coords = torch.cat((batch, xyz), 1).unique(dim=0)
    return coords[torch.randperm(len(coords), generator=generator)]


def dense(x: SparseTensor, batches: int) -> Tensor:
    side = SIDE // x.stride
    out = x.features.new_zeros(batches, side, side, side, x.features.shape[1])
    out[tuple(x.coords.T)] = x.features
    return out.permute(0, 4, 1, 2, 3)


def at(volume: Tensor, coords: Tensor) -> Tensor:
    return volume.permute(0, 2, 3, 4, 1)[tuple(coords.T)]


def kernel(weight: Tensor, side: int) -> Tensor:
    """Our offset-major weight as conv3d has it: outputs, inputs, x, y, z."""
    return weight.view(side, side, side, *weight.shape[1:]).permute(4, 3, 0, 1, 2)


def brute_table(coords: Tensor) -> Tensor:
    rows = {tuple(site): row for row, site in enumerate(coords.tolist(), 1)}
    return torch.tensor(
        [[rows.get((b, x + i, y + j, z + k), 0) for i, j, k in offsets(3).tolist()] for b, x, y, z in coords.tolist()]
    )


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 400), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_layers_agree_with_dense_convolutions_on_the_sites(
    seed: int, sites: int, batches: int, inputs: int, outputs: int
) -> None:
    torch.manual_seed(seed)
    coords = scene(seed, sites, batches)
    x = SparseTensor(torch.randn(len(coords), inputs), coords)
    same, down, up = Submanifold(inputs, outputs), Down(inputs, outputs), Up(outputs, inputs)

    y = functional.conv3d(dense(x, batches), kernel(same.weight, 3), padding=1)
    torch.testing.assert_close(same(x).features, at(y, coords), atol=1e-5, rtol=1e-5)

    coarse = down(x)
    assert coarse.stride == 2
    assert sorted(coarse.coords.tolist()) == parents(coords).unique(dim=0).tolist()
    y = functional.conv3d(dense(x, batches), kernel(down.weight, 2), stride=2)
    torch.testing.assert_close(coarse.features, at(y, coarse.coords), atol=1e-5, rtol=1e-5)

    fine = up(coarse)
    assert torch.equal(fine.coords, coords)
    weight = kernel(up.weight, 2).transpose(0, 1)  # conv_transpose3d has inputs first
    y = functional.conv_transpose3d(dense(coarse, batches), weight, stride=2)
    torch.testing.assert_close(fine.features, at(y, coords), atol=1e-5, rtol=1e-5)

    # A submanifold convolution at stride 2, on the sites that the first halving made.
    again = Submanifold(outputs, outputs)
    y = functional.conv3d(dense(coarse, batches), kernel(again.weight, 3), padding=1)
    torch.testing.assert_close(again(coarse).features, at(y, coarse.coords), atol=1e-5, rtol=1e-5)


def test_layers_of_single_sites_agree_with_dense_ones() -> None:
    """1×1 convolution, batch norm with the statistics of the sites, ReLU, sum and concatenation."""
    coords = scene(7, 300)
    x = SparseTensor(torch.randn(len(coords), 4), coords)
    other = x.map(torch.sin)
    matrix, norm = nn.Linear(4, 5, bias=False), nn.BatchNorm1d(4)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)

    y = functional.conv3d(dense(x, 2), matrix.weight[:, :, None, None, None])
    torch.testing.assert_close(x.map(matrix).features, at(y, coords), atol=1e-5, rtol=1e-5)

    occupied = dense(x.map(torch.ones_like), 2)
    mean = dense(x, 2).sum((0, 2, 3, 4)) / len(coords)
    variance = ((dense(x, 2) - mean[:, None, None, None]).square() * occupied).sum((0, 2, 3, 4)) / len(coords)
    shape = (1, -1, 1, 1, 1)
    y = (dense(x, 2) - mean.view(shape)) * torch.rsqrt(variance + norm.eps).view(shape)
    y = y * norm.weight.view(shape) + norm.bias.view(shape)
    assert bool((y.abs()[occupied.expand_as(y) == 0] > 0).any())  # a dense norm would fill empty space
    y = functional.relu(y)
    torch.testing.assert_close(x.map(norm).map(torch.relu).features, at(y, coords), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)

    torch.testing.assert_close((x + other).features, at(dense(x, 2) + dense(other, 2), coords))
    torch.testing.assert_close(x.join(other).features, at(torch.cat((dense(x, 2), dense(other, 2)), 1), coords))


LAYERS: dict[str, tuple[nn.Module, int]] = {
    "submanifold": (Submanifold(2, 3), 1),
    "submanifold, coarse": (Submanifold(2, 3), 2),
    "strided": (Down(2, 3), 1),
    "strided, coarse": (Down(2, 3), 2),
    "transposed": (Up(2, 3), 2),
    "transposed, coarse": (Up(2, 3), 4),
    "1×1": (nn.Linear(2, 3, bias=False), 1),
    "batch norm": (nn.BatchNorm1d(2), 1),
    "ReLU": (nn.ReLU(), 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_each_layer(name: str) -> None:
    """To the features and to every parameter, at each stride that it works on."""
    torch.manual_seed(0)
    layer, stride = copy.deepcopy(LAYERS[name][0]).double(), LAYERS[name][1]
    rules = Rules(scene(3, 40, batches=2))
    features = torch.randn(len(rules.coords(stride)), 2, dtype=torch.double, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True) if list(layer.parameters()) else ((), ())

    def through(features: Tensor, *values: Tensor) -> Tensor:
        x = SparseTensor(features, stride=stride, rules=rules)
        own = dict(zip(names, values, strict=True))
        if isinstance(layer, Submanifold | Down | Up):
            return torch.func.functional_call(layer, own, (x,)).features
        return x.map(lambda rows: torch.func.functional_call(layer, own, (rows,))).features

    assert torch.autograd.gradcheck(through, (features, *(v.detach().requires_grad_() for v in values)))


@pytest.mark.parametrize("join", ["sum", "concatenation"])
def test_gradients_of_joins(join: str) -> None:
    rules = Rules(scene(3, 30))
    pair = [torch.randn(len(rules.coords(1)), 2, dtype=torch.double, requires_grad=True) for _ in range(2)]

    def through(a: Tensor, b: Tensor) -> Tensor:
        x, y = SparseTensor(a, rules=rules), SparseTensor(b, rules=rules)
        return (x + y if join == "sum" else x.join(y)).features.square()

    assert torch.autograd.gradcheck(through, tuple(pair))


@pytest.mark.parametrize("seed", range(2))
def test_gradients(seed: int) -> None:
    """Of all of them one after the other, on shared tables."""
    torch.manual_seed(seed)
    coords = scene(seed, 60, batches=1) // 4
    coords = coords.unique(dim=0)
    x = SparseTensor(torch.randn(len(coords), 2, dtype=torch.double), coords)
    same, down, up = Submanifold(2, 3).double(), Down(3, 2).double(), Up(2, 3).double()

    def through(features: Tensor, *weights: Tensor) -> Tensor:
        for layer, weight in zip((same, down, up), weights, strict=True):
            del layer.weight
            layer.weight = weight  # type: ignore[assignment]
        y = same(SparseTensor(features, rules=x.rules))
        z = up(down(y))
        return (y + z).join(z).features

    arguments = [t.detach().clone().requires_grad_() for t in (x.features, same.weight, down.weight, up.weight)]
    assert torch.autograd.gradcheck(through, tuple(arguments))


def test_the_backward_pass_agrees_with_dense_convolutions() -> None:
    coords = scene(5, 300)
    features = torch.randn(len(coords), 4)
    layer = Submanifold(4, 6)
    grads = []
    for sparse in (True, False):
        x = features.clone().requires_grad_()
        layer.weight.grad = None
        tensor = SparseTensor(x, coords)
        if sparse:
            y = layer(tensor).features
        else:
            y = at(functional.conv3d(dense(tensor, 2), kernel(layer.weight, 3), padding=1), coords)
        (y.sin().sum()).backward()
        assert x.grad is not None and layer.weight.grad is not None
        grads.append((x.grad, layer.weight.grad))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-4, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 300), st.integers(-40, 3))
def test_tables_name_the_neighbours(seed: int, sites: int, low: int) -> None:
    coords = scene(seed, sites, low=low)
    rules = Rules(coords)
    expected = brute_table(coords)
    assert torch.equal(rules.table(1).long(), expected)
    assert torch.equal(rules.table(2).long(), brute_table(rules.coords(2)))
    table = Sites()
    table.add(coords, keep_order=True)
    assert torch.equal(table.around(coords).long(), expected)
    half = rules.halving(1)
    for row, (parent, octant) in enumerate(zip(half.parent.tolist(), half.octant.tolist(), strict=True), 1):
        assert half.children[parent - 1, octant] == row
        assert rules.coords(2)[parent - 1].tolist() == parents(coords)[row - 1 : row].tolist()[0]
    assert int((half.children > 0).sum()) == len(coords)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 6))
def test_sites_grow_and_keep_their_rows(seed: int, steps: int) -> None:
    sites, rows = Sites(), dict[tuple[int, ...], int]()
    for step in range(steps):
        coords = scene(seed + step, 80, low=-7)
        coords = torch.cat((coords, coords[:5]))  # some of them twice
        found, new = sites.add(coords)
        first = len(rows) + 1
        rows |= {tuple(site): first + index for index, site in enumerate(new.tolist())}
        assert [rows[tuple(site)] for site in coords.tolist()] == found.tolist()
        assert sites.count == len(rows)
    everything = torch.tensor(list(rows))
    assert torch.equal(sites.find(everything), torch.tensor(list(rows.values()), dtype=torch.int32))
    assert not sites.find(everything + torch.tensor([0, 1000, 0, 0])).any()
    again = Sites.restored(sites.state())
    more = scene(seed + 99, 80, low=-30)
    assert all(torch.equal(a, b) for a, b in zip(sites.add(more), again.add(more), strict=True))


def test_rules_are_built_once_and_shared() -> None:
    coords = scene(0, 100)
    x = SparseTensor(torch.randn(len(coords), 2), coords)
    y = Up(3, 2)(Down(2, 3)(Submanifold(2, 2)(x)))
    assert y.rules is x.rules
    assert y.rules.table(1) is x.rules.table(1) and y.rules.halving(1) is x.rules.halving(1)
    assert (x + y).features.shape == x.join(y).features[:, :2].shape


def test_keys_are_ordered_and_refuse_what_does_not_fit() -> None:
    corners = torch.cartesian_prod(torch.tensor([0, 511]), *[torch.tensor([-REACH - 9, -1, 0, REACH + 9])] * 3)
    keys = pack(corners)
    assert len(keys.unique()) == len(keys) and torch.equal(keys.sort().values, keys) and int(keys.min()) >= 0
    check_coords(torch.tensor([[511, REACH, -REACH, 0]]))
    for bad in ([512, 0, 0, 0], [-1, 0, 0, 0], [0, REACH + 1, 0, 0], [0, 0, 0, -REACH - 1]):
        with pytest.raises(ValueError, match=r"of sites? (is|are)|of a site is"):
            check_coords(torch.tensor([bad]))
    far = torch.tensor([[0, REACH, REACH, REACH], [0, REACH - 1, REACH, REACH], [0, -REACH, -REACH, -REACH]])
    table = Rules(far).table(1)
    assert int((table > 0).sum()) == 5  # each finds itself, two find each other


def test_mistakes_are_named() -> None:
    coords = torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]])
    with pytest.raises(ValueError, match="occurs twice"):
        Rules(coords)
    with pytest.raises(ValueError, match="integers"):
        check_coords(torch.rand(3, 4))
    with pytest.raises(ValueError, match="expected features of 1 sites, got 2"):
        SparseTensor(torch.zeros(2, 1), coords[:1])
    one, other = (SparseTensor(torch.zeros(1, 1), coords[:1]) for _ in range(2))
    with pytest.raises(ValueError, match="different sites"):
        one.join(other)
    with pytest.raises(ValueError, match="no finer sites"):
        Up(1, 1)(one)
    with pytest.raises(ValueError, match="power of 2"):
        one.rules.table(3)


def test_no_sites_at_all() -> None:
    x = SparseTensor(torch.zeros(0, 2), torch.zeros(0, 4, dtype=torch.long))
    y = Up(3, 2)(Down(2, 3)(Submanifold(2, 2)(x)))
    assert y.features.shape == (0, 2)


def test_a_site_costs_the_same_wherever_it_lies() -> None:
    """Nothing depends on the extent of the scene: a dense grid over these two corners would not fit anywhere."""
    here = scene(3, 500, batches=1)
    far = here + torch.tensor([0, REACH - SIDE, -REACH, 7])
    start = time.perf_counter()
    both = Rules(torch.cat((here, far))).table(1)
    assert time.perf_counter() - start < 5
    assert torch.equal(both[: len(here)], Rules(here).table(1))


def test_autocast_runs_and_stays_near() -> None:
    coords = scene(1, 200)
    x, layer = SparseTensor(torch.randn(len(coords), 8), coords), Submanifold(8, 8)
    exact = layer(x).features.detach()
    with torch.autocast("cpu", torch.bfloat16):
        near = layer(x).features.detach()
    assert near.dtype == torch.bfloat16
    assert float((near.float() - exact).abs().max()) < 0.1 * float(exact.abs().max())


def test_agrees_with_spconv() -> None:
    spconv: Any = pytest.importorskip("spconv.pytorch", reason="spconv is not installed (extra `parity`)")
    coords = scene(2, 400)
    x = SparseTensor(torch.randn(len(coords), 4), coords)
    same, down, up = Submanifold(4, 8), Down(8, 6), Up(6, 8)
    native = spconv.ConvAlgo.Native
    theirs = [
        spconv.SubMConv3d(4, 8, 3, bias=False, indice_key="same", algo=native),
        spconv.SparseConv3d(8, 6, 2, 2, bias=False, indice_key="down", algo=native),
        spconv.SparseInverseConv3d(6, 8, 2, indice_key="down", bias=False, algo=native),
    ]
    with torch.no_grad():
        for layer, ours in zip(theirs, (same, down, up), strict=True):
            side = round(len(ours.weight) ** (1 / 3))
            layer.weight.copy_(kernel(ours.weight, side).permute(0, 2, 3, 4, 1))  # outputs, x, y, z, inputs
        y = spconv.SparseConvTensor(x.features, coords.int(), [SIDE] * 3, 2)
        z: Any = x
        for layer, ours in zip(theirs, (same, down, up), strict=True):
            y, z = layer(y), ours(z)
            rows = {tuple(site): row for row, site in enumerate(y.indices.tolist())}
            order = [rows[tuple(site)] for site in z.coords.tolist()]
            torch.testing.assert_close(z.features, y.features[order], atol=1e-5, rtol=1e-5)
