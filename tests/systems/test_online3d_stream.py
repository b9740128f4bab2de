from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from percepta.nn.sparse import SparseTensor, offsets
from percepta.systems.online3d import PRESETS, Config
from percepta.systems.online3d.model import Block, Level, NormReLU, OnlineNet
from percepta.systems.online3d.stream import Stream

SEEDS = st.integers(0, 2**31 - 1)
SMALL = Config(inputs=2, classes=4, width=3, levels=3, blocks=1, embedding=2)


def network(seed: int = 0, config: Config = SMALL) -> OnlineNet:
    """Random weights, and norms as training leaves them: not the identity."""
    torch.manual_seed(seed)
    model = OnlineNet(config)
    for part in model.modules():
        if isinstance(part, NormReLU):
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
            torch.nn.init.normal_(part.bias, 0, 0.3)
            torch.nn.init.normal_(part.running_mean, 0, 0.2)  # type: ignore[arg-type]
            torch.nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return model.eval()


def frame(generator: torch.Generator, sites: int, centre: int = 0) -> tuple[Tensor, Tensor]:
    coords = torch.randint(-5, 6, (sites, 3), generator=generator).unique(dim=0) + centre
    return coords, torch.randn(len(coords), 2, generator=generator)


def repainted(generator: torch.Generator, stream: Stream, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What is given, and beside it every third voxel of the map with another colour."""
    coords, features = given
    chosen = stream.coords[torch.rand(stream.count, generator=generator) < 1 / 3].long()
    taken = {tuple(site) for site in coords.tolist()}
    chosen = chosen[[tuple(site) not in taken for site in chosen.tolist()]]
    return torch.cat((coords, chosen)), torch.cat((features, torch.randn(len(chosen), 2, generator=generator)))


def outputs(stream: Stream) -> Tensor:
    prediction = stream.prediction
    assert prediction.offset_m is not None and prediction.embedding is not None
    return torch.cat((prediction.logits, prediction.offset_m, prediction.embedding), 1)


def recomputed(model: OnlineNet, stream: Stream) -> Tensor:
    """The whole network, from scratch, on the map that the stream holds."""
    coords = functional.pad(stream.coords, (1, 0))
    with torch.no_grad():
        x = model.unet(model.stem(SparseTensor(stream.features, coords)))
        return model.heads(x.map(model.norm).features)


@settings(max_examples=12, deadline=None)
@given(
    SEEDS,
    st.lists(st.tuples(st.integers(0, 60), st.integers(-4, 4)), min_size=1, max_size=5),
    st.sampled_from(["values", "residuals"]),
    st.sampled_from([0, 2]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from(["insertions", "colours", "both"]),
)
def test_exact_streams_equal_the_whole_network_after_every_frame(
    seed: int, steps: list[tuple[int, int]], rule: Any, anchor_every: int, refresh: float, kind: str
) -> None:
    model, generator = network(seed), torch.Generator().manual_seed(seed)
    stream = Stream(model, "exact", rule=rule, anchor_every=anchor_every, refresh=refresh, growth=0.0)
    full = Stream(model, "full", growth=0.0)
    held: dict[tuple[int, ...], Tensor] = {}
    for sites, centre in steps:
        coords, features = frame(generator, sites, centre)
        if kind == "colours" and stream.count:  # of the map alone
            coords, features = coords[:0], features[:0]
        if kind != "insertions":
            coords, features = repainted(generator, stream, (coords, features))
        held |= {tuple(site): value for site, value in zip(coords.tolist(), features, strict=True)}
        before = outputs(stream).clone()
        update = stream.step(coords, features)
        assert torch.equal(stream.coords[update.given], coords.int())
        assert {tuple(site) for site in stream.coords.tolist()} == set(held)
        for site, value in zip(stream.coords.tolist(), stream.features, strict=True):
            assert torch.equal(value, held[tuple(site)])
        expected = recomputed(model, stream)
        torch.testing.assert_close(outputs(stream), expected, atol=1e-4, rtol=1e-4)
        # What is not in the update is what it was.
        same = torch.ones(stream.count, dtype=torch.bool)
        same[update.rows] = False
        assert torch.equal(outputs(stream)[same], before[same[: len(before)]])
        assert torch.equal(outputs(stream)[update.rows, : SMALL.classes], update.prediction.logits)
        full.step(coords, features)
        assert torch.equal(full.coords, stream.coords)
        torch.testing.assert_close(outputs(full), expected, atol=1e-5, rtol=1e-5)


class Published:
    """The paper's rule, site by site in dictionaries, with differences to the frame before: slow and obvious."""

    def __init__(self, model: OnlineNet) -> None:
        self.model, self.kept = model, dict[str, dict[tuple[int, ...], Tensor]]()

    def step(self, inputs: dict[tuple[int, ...], Tensor]) -> dict[tuple[int, ...], Tensor]:
        """Outputs of the sites of the increment, all of which have changed."""
        net, seen = self.model, self.kept.setdefault("input", {})
        delta = {site: value - seen.get(site, torch.zeros_like(value)) for site, value in inputs.items()}
        new = {site for site in inputs if site not in seen}
        seen |= inputs
        x = self._level("unet", net.unet, self._same("stem", net.stem.weight, delta, new, 1), new, 1)
        return {site: net.heads(h[None])[0] for site, h in self._value("norm", net.norm, x).items()}

    def _value(self, name: str, norm: NormReLU, x: dict) -> dict:
        kept = self.kept.setdefault(f"{name} in", {})
        for site, change in x.items():
            kept[site] = kept.get(site, 0) + change
        return {site: norm(kept[site][None])[0] for site in x}

    def _act(self, name: str, norm: NormReLU, x: dict) -> dict:
        kept = self.kept.setdefault(f"{name} act", {})
        values = self._value(name, norm, x)
        delta = {site: value - kept.get(site, 0) for site, value in values.items()}
        kept |= values
        return delta

    def _same(self, name: str, weight: Tensor, x: dict, new: set, stride: int) -> dict:
        before = dict(self.kept.setdefault(f"{name} conv", {}))
        out = {}
        for site in x:
            total = torch.zeros(weight.shape[2])
            for matrix, offset in zip(weight, offsets(3).tolist(), strict=True):
                near = tuple(a + b for a, b in zip(site, offset, strict=True))
                if near in x:
                    total = total + x[near] @ matrix
                if site in new and near in before:
                    total = total + before[near] @ matrix
            out[site] = total
        kept = self.kept[f"{name} conv"]
        for site, change in x.items():
            kept[site] = kept.get(site, 0) + change
        return out

    def _level(self, name: str, level: Level, x: dict, new: set, stride: int) -> dict:
        for index, block in enumerate(level.before):
            x = self._block(f"{name} before {index}", block, x, new, stride)  # type: ignore[arg-type]
        if level.inner is None:
            return x
        h = self._act(f"{name} down", level.norm_down, x)
        below: dict[tuple[int, ...], Tensor] = {}
        for site, change in h.items():
            parent = tuple(a // 2 for a in site)
            below[parent] = below.get(parent, 0) + change @ level.down.weight[self._octant(site)]
        known = self.kept.setdefault(f"{name} parents", {})
        new_below = {site for site in below if site not in known}
        known |= below
        y = self._level(f"{name} inner", level.inner, below, new_below, 2 * stride)
        before = dict(self.kept.get(f"{name} up act", {}))
        h = self._act(f"{name} up", level.norm_up, y)
        joined = {}
        for site, change in x.items():
            parent = tuple(a // 2 for a in site)
            value = h[parent] + (before.get(parent, 0) if site in new else 0)
            joined[site] = torch.cat((change, value @ level.up.weight[self._octant(site)]))
        for index, block in enumerate(level.after):
            joined = self._block(f"{name} after {index}", block, joined, new, stride)  # type: ignore[arg-type]
        return joined

    def _block(self, name: str, block: Block, x: dict, new: set, stride: int) -> dict:
        y = self._same(f"{name} 1", block.conv1.weight, self._act(f"{name} 1", block.norm1, x), new, stride)
        y = self._same(f"{name} 2", block.conv2.weight, self._act(f"{name} 2", block.norm2, y), new, stride)
        return {site: block.shortcut(x[site]) + y[site] for site in x}

    @staticmethod
    def _octant(site: tuple[int, ...]) -> int:
        return 4 * (site[0] % 2) + 2 * (site[1] % 2) + site[2] % 2


@torch.no_grad()
def test_residuals_follow_the_published_rule() -> None:
    model, generator = network(3), torch.Generator().manual_seed(3)
    stream, oracle = Stream(model, rule="residuals", threshold=0.0, halo=False, growth=0.0), Published(model)
    for centre in (0, 2, 3, -2):
        coords, features = frame(generator, 40, centre)
        update = stream.step(coords, features)
        expected = oracle.step(dict(zip(map(tuple, coords.tolist()), features, strict=True)))
        assert {tuple(site) for site in update.coords.tolist()} == set(expected)
        for site, own in zip(update.coords.tolist(), outputs(stream)[update.rows], strict=True):
            torch.testing.assert_close(own, expected[tuple(site)], atol=1e-5, rtol=1e-5)
    # That it is no exact rule is the paper's point, and why the test above means something.
    assert float((outputs(stream) - recomputed(model, stream)).abs().max()) > 1e-3


@pytest.mark.parametrize("rule", ["values", "residuals"])
def test_paper_streams_compute_what_changed_and_anchors_set_everything_right(rule: Any) -> None:
    model, generator = network(1), torch.Generator().manual_seed(1)
    stream = Stream(model, rule=rule, threshold=0.0, coarse=0.0, halo=False, growth=0.0)
    first = stream.step(*frame(generator, 60))
    torch.testing.assert_close(outputs(stream), recomputed(model, stream), atol=1e-5, rtol=1e-5)
    assert first.before == 0 and first.active == first.sites
    for centre in (1, 3, -2):
        coords, features = frame(generator, 60, centre)
        update = stream.step(coords, features)
        assert sorted(update.rows.tolist()) == sorted(update.given.tolist())
        assert all(active <= sites for active, sites in zip(update.active, update.sites, strict=True))
    assert float((outputs(stream) - recomputed(model, stream)).abs().max()) > 1e-3
    update = stream.anchor()
    assert update.anchored and len(update.rows) == stream.count
    torch.testing.assert_close(outputs(stream), recomputed(model, stream), atol=1e-5, rtol=1e-5)


def test_refreshing_repairs_what_the_paper_rule_left_out() -> None:
    """Kept values are right about what is kept of the neighbours, so going round heals layer by layer."""
    model, generator = network(2), torch.Generator().manual_seed(2)
    healed, plain = (Stream(model, threshold=0.0, coarse=0.0, refresh=share, growth=0.0) for share in (0.5, 0.0))
    for centre in (0, 2, 4, 1):
        given = frame(generator, 60, centre)
        healed.step(*given)
        plain.step(*given)
    nothing = torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 2)
    updates = [(healed.step(*nothing), plain.step(*nothing)) for _ in range(60)]
    assert all(len(update.rows) == 0 for _, update in updates)
    assert updates[0][0].drift > 1e-3 > updates[-1][0].drift
    expected = recomputed(model, healed)
    assert float((outputs(plain) - expected).abs().max()) > 1e-2
    torch.testing.assert_close(outputs(healed), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.floats(0.05, 2.0), st.lists(st.tuples(st.integers(1, 60), st.integers(-4, 4)), min_size=2, max_size=8))
def test_growth_brings_an_anchor_and_a_saved_stream_remembers_the_last(
    tmp_path_factory: pytest.TempPathFactory, seed: int, growth: float, steps: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("state") / "stream.safetensors"
    model, generator = network(), torch.Generator().manual_seed(seed)
    stream, last = Stream(model, threshold=0.3, growth=growth), 0
    for sites, centre in steps:
        update = stream.step(*frame(generator, sites, centre))
        assert update.anchored == (stream.count > (1 + growth) * last)
        if update.anchored:
            last = stream.count
            torch.testing.assert_close(outputs(stream), recomputed(model, stream), atol=1e-5, rtol=1e-5)
        stream.save(path)
        stream = Stream.load(path, model)


def test_too_much_drift_brings_an_anchor() -> None:
    model, generator = network(2), torch.Generator().manual_seed(2)
    stream = Stream(model, threshold=0.0, coarse=0.0, refresh=0.3, drift_bound=1e-3, growth=0.0)
    updates = [stream.step(*frame(generator, 60, centre)) for centre in (0, 2, 4, 1, 3)]
    due = [update.drift > 1e-3 for update in updates]
    assert any(due[:-1]) and [update.anchored for update in updates[1:]] == due[:-1]


def test_the_halo_is_what_new_voxels_reach() -> None:
    model, generator = network(1), torch.Generator().manual_seed(1)
    wide, narrow = (Stream(model, threshold=0.0, coarse=0.0, halo=halo, growth=0.0) for halo in (True, False))
    for centre in (0, 3, -2):
        coords, features = frame(generator, 60, centre)
        known = {tuple(site) for site in wide.coords.tolist()}
        computed = {tuple(site) for site in wide.step(coords, features).coords.tolist()}
        changed = {tuple(site) for site in narrow.step(coords, features).coords.tolist()}
        new = {tuple(site) for site in coords.tolist()} - known
        beside = {tuple(a + b for a, b in zip(site, step, strict=True)) for site in new for step in offsets(3).tolist()}
        assert computed == changed | beside & (known | new)
    expected = recomputed(model, wide)
    errors = [float((outputs(stream) - expected).abs().mean()) for stream in (wide, narrow)]
    assert errors[0] < errors[1]


def test_a_threshold_keeps_small_changes_waiting_but_loses_none() -> None:
    model, generator = network(1), torch.Generator().manual_seed(1)
    stream = Stream(model, threshold=0.1, coarse=0.0, growth=0.0)
    coords, features = frame(generator, 60)
    stream.step(coords, features)
    computed = 0
    for count in range(1, 6):  # 0.04, 0.08, 0.12: over the threshold, and 0.04, 0.08 again
        update = stream.step(coords, features + 0.04 * count)
        computed += len(update.rows)
        assert len(update.rows) == (len(coords) if count == 3 else 0)
        torch.testing.assert_close(stream.features[update.given], features + 0.04 * count)
    assert computed == len(coords)
    stream.anchor()
    torch.testing.assert_close(outputs(stream), recomputed(model, stream), atol=1e-5, rtol=1e-5)


def test_coarse_levels_are_spared_where_little_changes() -> None:
    model, generator = network(1), torch.Generator().manual_seed(1)
    streams = [Stream(model, threshold=0.0, coarse=coarse, growth=0.0) for coarse in (0.0, 0.1)]
    given = frame(generator, 60)
    for stream in streams:
        stream.step(*given)
    changed = given[1] + 0.2 * torch.randn(given[1].shape, generator=generator)
    all_of_them, fewer = (stream.step(given[0], changed) for stream in streams)
    assert fewer.active[0] == all_of_them.active[0] and 0 < fewer.active[1] < all_of_them.active[1]
    assert float((outputs(streams[0]) - outputs(streams[1])).abs().max()) > 0
    slightly = changed + 1e-4
    update = streams[1].step(given[0], slightly)
    assert update.active[0] == len(changed) and update.active[1:] == (0, 0)


@pytest.mark.parametrize("mode", ["paper", "exact", "full"])
def test_what_is_repeated_changes_nothing(mode: Any) -> None:
    model, generator = network(), torch.Generator().manual_seed(4)
    for rule in ("values", "residuals"):
        stream = Stream(model, mode, rule=rule, threshold=0.0, growth=0.0)  # type: ignore[arg-type]
        for centre in (0, 1):
            given = frame(generator, 50, centre)
            stream.step(*given)
        before = outputs(stream).clone()
        update = stream.step(*given)
        assert len(update.rows) == 0 and len(update.given) == len(given[0]) and update.before == stream.count
        update = stream.step(given[0][:0], given[1][:0])
        assert len(update.rows) == 0 and len(update.coords) == 0
        assert torch.equal(outputs(stream), before)


def test_an_empty_stream() -> None:
    for mode in ("paper", "exact", "full"):
        stream = Stream(network(), mode, growth=0.0)  # type: ignore[arg-type]
        update = stream.step(torch.zeros(0, 3, dtype=torch.long), torch.zeros(0, 2))
        assert len(update.rows) == 0 and stream.count == 0 and len(stream.prediction.logits) == 0
        stream.anchor()


def test_far_and_negative_places_are_as_good_as_any() -> None:
    model, generator = network(), torch.Generator().manual_seed(0)
    given = frame(generator, 60)
    here, far = Stream(model, "exact", growth=0.0), Stream(model, "exact", growth=0.0)
    here.step(*given)
    shift = torch.tensor([-131_040, 65_536, 131_040])  # multiples of the coarsest voxel, so that parents are the same
    far.step(given[0] + shift, given[1])
    at_home = {tuple(site): row for row, site in enumerate(here.coords.tolist())}
    order = [at_home[tuple(site)] for site in (far.coords - shift).tolist()]
    torch.testing.assert_close(outputs(far), outputs(here)[order])


BAD: list[tuple[str, Any]] = [
    ("finite", lambda c, x: (c, x.masked_fill(torch.arange(len(x))[:, None] == 3, float("nan")))),
    ("finite", lambda c, x: (c, x / 0)),
    ("more than once", lambda c, x: (torch.cat((c, c[:1])), torch.cat((x, x[:1])))),
    ("more than once", lambda c, x: (torch.full_like(c, 99), x)),
    ("coordinates of sites", lambda c, x: (c + 200_000, x)),
    ("integers", lambda c, x: (c.float(), x)),
    ("n × 2", lambda c, x: (c, x[:, :1])),
    ("n × 2", lambda c, x: (c[:-1], x)),
    ("n × 3", lambda c, x: (c[:, :2], x)),
]


@pytest.mark.parametrize("match, spoil", BAD)
def test_nothing_is_changed_by_a_step_that_raises(match: str, spoil: Any, tmp_path: Path) -> None:
    model, generator = network(), torch.Generator().manual_seed(0)
    stream = Stream(model, growth=0.0)
    stream.step(*frame(generator, 50))
    stream.save(tmp_path / "before")
    step = inspect.unwrap(Stream.step)  # without the check of shapes in tests: it is our own error that we want
    with pytest.raises(ValueError, match=match), torch.no_grad():
        step(stream, *spoil(*frame(generator, 50, 3)))
    stream.save(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


def test_a_step_that_is_interrupted_is_set_right_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model, generator = network(), torch.Generator().manual_seed(0)
    stream = Stream(model, "exact", growth=0.0)
    stream.step(*frame(generator, 50))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(model, "heads", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
        stream.step(*frame(generator, 50, 2))
    assert stream.step(*frame(generator, 5, 1)).anchored
    torch.testing.assert_close(outputs(stream), recomputed(model, stream), atol=1e-5, rtol=1e-5)


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.sampled_from(["paper", "exact", "full"]), st.sampled_from(["values", "residuals"]), st.booleans())
def test_a_stream_that_is_saved_goes_on_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mode: Any, rule: Any, halo: bool
) -> None:
    path = tmp_path_factory.mktemp("state") / "stream.safetensors"
    model, generator = network(), torch.Generator().manual_seed(seed)
    stream = Stream(model, mode, rule=rule, threshold=0.05, growth=0.4, refresh=0.1, anchor_every=4, halo=halo)
    for centre in (0, 2, -1):
        stream.step(*frame(generator, 60, centre))
    stream.save(path)
    again = Stream.load(path, model)
    assert torch.equal(outputs(again), outputs(stream)) and again.steps == stream.steps
    for centre in (-3, 9, 1, 4):
        given = frame(generator, 60, centre)
        update, other = stream.step(*given), again.step(*given)
        assert torch.equal(update.rows, other.rows) and torch.equal(stream.coords, again.coords)
        assert torch.equal(outputs(again), outputs(stream))


def test_states_of_other_weights_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stream.safetensors"
    stream = Stream(network(0), growth=0.0)
    stream.step(*frame(torch.Generator().manual_seed(0), 20))
    stream.save(path)
    with pytest.raises(ValueError, match="other weights"):
        Stream.load(path, network(1))
    path.write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="no state of a stream"):
        Stream.load(path, network(0))
    with pytest.raises(ValueError, match="mode is one of"):
        inspect.unwrap(Stream.__init__)(stream, network(0), "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 0"):
        Stream(network(0), threshold=float("nan"), growth=0.0)


def test_new_sites_cost_what_they_are_and_tables_stay_true() -> None:
    """After many insertions, tables that were extended equal tables made at once."""
    stream, generator = Stream(network(), growth=0.0), torch.Generator().manual_seed(5)
    for centre in (0, 3, -6, 2, 8):
        stream.step(*frame(generator, 40, centre))
    for level, grid in enumerate(stream._grids):
        coords = grid.coords[1 : grid.count + 1]
        assert torch.equal(grid.table[1 : grid.count + 1], grid.sites.neighbours(coords)), level
        if level:
            finer = stream._grids[level - 1]
            own = torch.arange(1, finer.count + 1)
            at = finer.parent[own].long(), finer.octant[own].long()
            assert torch.equal(grid.children[at].long(), own)
            assert int((grid.children > 0).sum()) == finer.count


def test_presets() -> None:
    sizes = {name: sum(p.numel() for p in OnlineNet(config).parameters()) for name, config in PRESETS.items()}
    assert sizes["tiny"] < sizes["small"] < sizes["paper"]
    paper = OnlineNet(PRESETS["paper"])
    widths, level = [], paper.unet
    while level is not None:
        widths.append(level.before[0].conv1.weight.shape[2])  # type: ignore[union-attr]
        assert len(level.before) == 2
        level = level.inner
    assert widths == [32, 64, 96, 128, 160, 192, 224] and paper.semantic.out_features == 20


def test_the_network_trains() -> None:
    """Every parameter gets a gradient, and a few steps fit two kinds of voxels."""
    torch.manual_seed(0)
    model = OnlineNet(SMALL)
    generator = torch.Generator().manual_seed(0)
    coords, features = frame(generator, 200)
    target = (features[:, 0] > 0).long()
    x = SparseTensor(features, functional.pad(coords, (1, 0)))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(30):
        prediction = model(x)
        assert prediction.offset_m is not None and prediction.embedding is not None
        extra = prediction.offset_m.square().mean() + prediction.embedding.square().mean()
        loss = functional.cross_entropy(prediction.logits, target) + 0.1 * extra
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_presets_stream_as_they_did_when_thresholds_were_settings() -> None:
    """The network as it was published follows every change; the others leave out what is hardly seen."""
    for name, thresholds in {"tiny": (0.08, 1.0), "small": (0.08, 1.0), "paper": (0.0, 0.0)}.items():
        with torch.device("meta"):
            model = OnlineNet(PRESETS[name])
        stream = Stream(model.to_empty(device="cpu"))
        assert (stream.threshold, stream.coarse, stream.growth) == (*thresholds, 0.1)
    assert Stream(network(0), threshold=0.0, coarse=0.0).threshold == 0
