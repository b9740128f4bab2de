"""Motion forecasting: the laws of what the network sees, of its samples, of its answers and of its sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from percepta.contract import Step, batches
from percepta.datasets import argoverse2, eth_ucy, tracks_csv
from percepta.datasets.tracks import KINDS, Lane, StreetMap, Tracks
from percepta.errors import InputError
from percepta.metrics import forecast as fc
from percepta.nn.graph import edge_softmax, edge_sum
from percepta.nn.relative import RelativeAttention, relative_pose
from percepta.systems.forecast import PRESETS, Config, check, fans
from percepta.systems.forecast import data as samples
from percepta.systems.forecast import scene as scenes
from percepta.systems.forecast.data import Part, Windows
from percepta.systems.forecast.evaluate import Rows, collect, evaluate, grouped_interval, score_submission
from percepta.systems.forecast.losses import errors, loss
from percepta.systems.forecast.model import build
from percepta.systems.forecast.predict import Forecast, chosen
from percepta.systems.forecast.small import SmallNet
from percepta.worlds.street.traffic import traffic

SEEDS = st.integers(0, 500)
TINY = PRESETS["tiny"]
few = settings(max_examples=8, deadline=None)


def untrained(config: Config = TINY, seed: int = 0) -> Forecast:
    torch.manual_seed(seed)
    return Forecast(config, build(config).eval(), "", lambda *_, **__: None, lambda *_, **__: None)  # type: ignore[arg-type]


def street(seed: int = 5, **more: Any) -> Tracks:
    return traffic(seed, seconds=7.0, **{"cars": 5, "people": 2, **more})


def moved(tracks: Tracks, angle: float, shift: tuple[float, float]) -> Tracks:
    """A recording turned about the origin and shifted."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def go(points: np.ndarray) -> np.ndarray:
        return np.c_[points[:, :2] @ turn.T + shift, points[:, 2:]]

    lanes = tuple(replace(lane, centre=go(lane.centre)) for lane in tracks.map.lanes)
    crossings = tuple(replace(one, edge1=go(one.edge1), edge2=go(one.edge2)) for one in tracks.map.crossings)
    position = tracks.position @ turn.T + shift
    return replace(
        tracks, position=position, heading=tracks.heading + angle, map=StreetMap(lanes, crossings, tracks.map.edges)
    )


# ---------------------------------------------------------------------------------------------------------- layers


def test_softmax_over_edges_by_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    values, node = torch.randn(40, 3, generator=generator) * 9, torch.randint(0, 6, (40,), generator=generator)
    found = edge_softmax(values, node, 7)
    for i in range(7):
        torch.testing.assert_close(found[node == i], values[node == i].softmax(0))
    torch.testing.assert_close(edge_sum(found, node, 7)[node], torch.ones(40, 3))
    assert (edge_sum(values, node, 7)[6] == 0).all()


def by_hand(layer: RelativeAttention, x: Tensor, other: list[Tensor], relation: list[Tensor]) -> Tensor:
    """Attention of one query to some others, head by head."""
    width, heads = x.shape[-1], layer.heads
    d = width // heads
    query = layer.query(layer.norm(x))
    keys = [layer.nothing_key] + [
        layer.key(layer.norm_other(o)) + layer.relation_key(r) for o, r in zip(other, relation, strict=True)
    ]
    values = [layer.nothing_value] + [
        layer.value(layer.norm_other(o)) + layer.relation_value(r) for o, r in zip(other, relation, strict=True)
    ]
    parts = []
    for h in range(heads):
        cut = slice(h * d, (h + 1) * d)
        weight = torch.stack([query[cut] @ key[cut] / d**0.5 for key in keys]).softmax(0)
        parts.append(sum(w * value[cut] for w, value in zip(weight, values, strict=True)))
    return layer.out(torch.cat(parts))


def test_relative_attention_by_loops() -> None:
    torch.manual_seed(0)
    layer = RelativeAttention(8, 2, 5)
    torch.nn.init.normal_(layer.nothing_value)
    n, q, m, s = 4, 3, 6, 5
    x, other, relation = torch.randn(n, q, 8), torch.randn(m, 8), torch.randn(n, s, 5)
    index, there = torch.randint(0, m, (n, s)), torch.rand(n, s) < 0.6
    there[0] = False  # sees nothing
    found = layer(x, other, index, relation, there)
    between = layer.between_modes(x, index % n, relation, there)
    for i in range(n):
        rows = torch.nonzero(there[i])[:, 0].tolist()
        for k in range(q):
            expected = by_hand(layer, x[i, k], [other[index[i, r]] for r in rows], [relation[i, r] for r in rows])
            torch.testing.assert_close(found[i, k], expected)
            expected = by_hand(layer, x[i, k], [x[index[i, r] % n, k] for r in rows], [relation[i, r] for r in rows])
            torch.testing.assert_close(between[i, k], expected)
    assert relative_pose(torch.tensor([3.0]), torch.tensor([4.0]), torch.tensor([0.0])).tolist() == [[3, 4, 5, 1, 0]]


# ------------------------------------------------------------------------------------------------- what is seen


@few
@given(SEEDS)
def test_nothing_after_the_present_is_seen(seed: int) -> None:
    """NaN in the future, and other agents in it: the same prediction, bit by bit."""
    tracks, last = street(seed), 25
    later = tracks.position.copy()
    later[:, last + 1 :] = np.nan
    turned = tracks.heading.copy()
    turned[:, last + 1 :] = np.nan
    blind = replace(tracks, position=later, heading=turned)
    system = untrained()
    a, b = system.predict(tracks, last=last), system.predict(blind, last=last)
    assert a.ids == b.ids
    np.testing.assert_array_equal(a.position, b.position)
    np.testing.assert_array_equal(a.probability, b.probability)
    other = replace(tracks, position=np.where(np.arange(tracks.steps)[:, None] > last, 7.0, tracks.position))
    np.testing.assert_array_equal(system.predict(other, last=last).position, a.position)


@few
@given(SEEDS, st.floats(-3, 3))
def test_predictions_turn_and_move_with_the_scene(seed: int, angle: float) -> None:
    tracks = street(seed)
    system, shift = untrained(), (12.0, -40.0)
    a, b = system.predict(tracks, last=25), system.predict(moved(tracks, angle, shift), last=25)
    directed = scenes.frames_of(scenes.past_of(tracks.moment(25, 10), TINY)).directed  # others keep the world's axes
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if not directed.all():
        return
    np.testing.assert_allclose(b.position, a.position @ turn.T + shift, atol=2e-3)
    np.testing.assert_allclose(b.probability, a.probability, atol=1e-4)


@few
@given(SEEDS)
def test_the_order_of_agents_does_not_matter(seed: int) -> None:
    tracks = street(seed)
    order = np.random.default_rng(seed).permutation(len(tracks.ids))
    mixed = replace(
        tracks, ids=tuple(tracks.ids[i] for i in order), kinds=tracks.kinds[order], position=tracks.position[order],
        heading=tracks.heading[order], size_m=tracks.size_m[order],
    )  # fmt: skip
    system = untrained()
    a, b = system.predict(tracks, last=25), system.predict(mixed, last=25)
    rows = [b.ids.index(name) for name in a.ids]
    np.testing.assert_allclose(b.position[rows], a.position, atol=1e-4)


def test_frames_follow_headings_then_movement() -> None:
    nan = np.nan
    position = np.array([
        [[0.0, 0], [1, 0], [2, 0]],  # heading given: up
        [[0.0, 0], [0, 0.4], [0, 0.8]],  # its last half metre leads up
        [[0.0, 0], [0, 0.1], [0, 0.1]],  # stands
        [[nan, nan], [nan, nan], [5, 5]],  # was not seen before
    ])  # fmt: skip
    past = scenes.Past(position, np.array([np.pi / 2, nan, nan, nan]), np.zeros(4, np.int64), 0.1)
    frames = scenes.frames_of(past)
    np.testing.assert_allclose(frames.angle, [np.pi / 2, np.pi / 2, 0, 0])
    assert frames.directed.tolist() == [True, True, False, False]
    own = frames.to_own(position)
    np.testing.assert_allclose(own[0], [[0, 2], [0, 1], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(frames.to_world(own), position)


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4), st.integers(1, 6))
def test_pieces_are_the_line(numbers: list[float], points: int) -> None:
    line = np.array([[0.0, 0, 0], [numbers[0], numbers[1], 0], [numbers[0] + numbers[2], numbers[1] + numbers[3], 0]])
    config = replace(TINY, piece_points=points + 1, piece_m=10.0)
    pieces = scenes.cut(StreetMap((Lane("a", line),)), config)
    world = scenes.turned(pieces.points.astype(float), pieces.angle) + pieces.origin[:, None]
    np.testing.assert_allclose(world[0, 0], line[0, :2], atol=1e-3)
    np.testing.assert_allclose(world[-1, -1], line[-1, :2], atol=1e-3)
    np.testing.assert_allclose(world[1:, 0], world[:-1, -1], atol=1e-3)
    length = np.linalg.norm(np.diff(world, axis=1), axis=-1).sum(1)
    assert (length <= 10.0 + 1e-3).all()
    np.testing.assert_allclose(pieces.points.mean(1), 0, atol=1e-3)


def test_the_nearest_are_seen_by_brute_force() -> None:
    tracks = street(8, cars=9, people=4)
    config = replace(TINY, neighbours=3, neighbour_radius_m=25.0, lane_pieces=5, lane_radius_m=20.0)
    past = scenes.past_of(tracks.moment(25, 10), config)
    pieces = scenes.cut(tracks.map, config)
    made, frames = scenes.tensors(past, pieces, config)
    for i, here in enumerate(frames.origin):
        gap = np.linalg.norm(frames.origin - here, axis=1)
        gap[i] = np.inf
        expected = [j for j in np.argsort(gap)[:3] if gap[j] <= 25.0]
        assert made["neighbour"][i][made["neighbour_there"][i]].tolist() == expected
        step = np.nan_to_num(past.position[i, -1] - past.position[i, -2])
        away = np.min([np.linalg.norm(here + step * t - pieces.origin, axis=1) for t in (0, 15, 30)], 0)
        near = [p for p in np.argsort(away)[:5] if away[p] <= 20.0]
        rows = made["lane"][i][made["lane_there"][i]].numpy()
        found = made["line"].numpy()[rows]
        np.testing.assert_allclose(np.sort(found.sum((1, 2))), np.sort(pieces.points[near].sum((1, 2))), atol=1e-4)
        for slot, j in enumerate(expected):
            own = frames.to_own(np.tile(frames.origin[j], (len(frames.origin), 1, 1)))[i, 0]
            np.testing.assert_allclose(made["neighbour_pose"][i, slot, :2], own, atol=1e-4)


def test_other_rates_are_resampled_from_the_past_alone() -> None:
    """A car at 1 m/s along x and along a parabola: positions between two seen ones are on the line between them."""
    t = np.arange(30) * 0.25
    position = np.stack([np.stack([t, 0 * t], -1), np.stack([t, t**2], -1)])
    tracks = Tracks("a", "csv", 0.25, ("1", "2"), np.zeros(2, np.int64), position, np.full((2, 30), np.nan),
                    np.full((2, 2), np.nan))  # fmt: skip
    config = replace(TINY, step_s=0.1, observed_steps=10)
    past = scenes.past_of(tracks.moment(20, scenes.steps_of(tracks, config)[0]), config)
    wanted = 5.0 + (np.arange(10) - 9) * 0.1
    np.testing.assert_allclose(past.position[0, :, 0], wanted, atol=1e-9)
    np.testing.assert_allclose(past.position[1, :, 1], np.interp(wanted, t, t**2), atol=1e-9)
    config = replace(config, future_steps=12, windows=((10, 12),))
    truth = scenes.truth_of(tracks.moment(20, *scenes.steps_of(tracks, config)), config)
    np.testing.assert_allclose(truth[0, :, 0], 5.0 + np.arange(1, 13) * 0.1, atol=1e-9)
    same = replace(config, resample=False)
    np.testing.assert_array_equal(scenes.past_of(tracks.moment(20, 10), same).position, position[:, 11:21])


# ----------------------------------------------------------------------------------------------------------- samples


@pytest.fixture(scope="module")
def windows() -> Windows:
    return Windows(TINY, [Part(street(seed)) for seed in (1, 2)], True)


@few
@given(SEEDS)
def test_turned_frames_are_the_same_scene(seed: int) -> None:
    """Turning every frame and turning it back; and the world that follows from frames stays."""
    sample = Windows(TINY, [Part(street(seed))], False)[(0, 0)]["tensors"]
    angle = torch.randn(len(sample["kind"]), generator=torch.Generator().manual_seed(seed))
    there = samples.turned_frames(sample, angle)
    back = samples.turned_frames(there, -angle)
    for name in ("history", "truth", "neighbour_pose", "lane_pose", "angle"):
        torch.testing.assert_close(back[name], sample[name], atol=1e-4, rtol=1e-4)
    one, two = (scenes.ways_turned(s["truth"][:, None], s["angle"]) for s in (sample, there))
    torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-4)


def test_augmented_scenes_are_mirrored_and_scaled_as_a_whole(windows: Windows) -> None:
    one = windows._sample(*windows.index[0])
    plain = {**one, "tensors": scenes.joined([one["tensors"]])}
    config = replace(TINY, turn_noise_deg=0.0, scale_range=(2.0, 2.0))
    seen = set()
    for seed in range(8):
        made = windows.collate([samples.drawn(one, config, torch.Generator().manual_seed(seed))])
        mirror = float(torch.sign((made["line"] * plain["tensors"]["line"])[..., 1].sum()))
        seen.add(mirror)
        torch.testing.assert_close(made["line"], plain["tensors"]["line"] * torch.tensor([2.0, 2.0 * mirror]))
        rows = plain["tensors"]["directed"]
        torch.testing.assert_close(made["truth"][rows], plain["tensors"]["truth"][rows] * torch.tensor([2, 2 * mirror]))
        pose = plain["tensors"]["lane_pose"][rows] * torch.tensor([2.0, 2.0 * mirror, mirror])
        torch.testing.assert_close(made["lane_pose"][rows], pose)
        assert float(made["step_s"][0]) == pytest.approx(0.2)
    assert seen == {-1.0, 1.0}


def test_scenes_side_by_side_do_not_see_each_other(windows: Windows) -> None:
    one, two = (windows[(0, i)] for i in (0, 3))
    net = build(TINY).eval()
    both = windows.collate([one, two])
    with torch.no_grad():
        joined = net.predict(both)
        alone = [net.predict(windows.collate([sample])) for sample in (one, two)]
    for a, b, c in zip(joined, *alone, strict=True):
        torch.testing.assert_close(a, torch.cat([b, c]), atol=1e-5, rtol=1e-4)


def test_targets_that_move_come_first(windows: Windows) -> None:
    made = windows._sample(*windows.index[0])["tensors"]
    reach = (made["truth"].norm(dim=-1) * made["known"]).amax(1)
    target = samples.chosen_targets(made, 30, 3, torch.Generator().manual_seed(0))
    assert len(target) <= 3 and made["known"][target].any(1).all()
    moving = int((reach > 1).sum())
    assert int((reach[target] > 1).sum()) >= min(moving, 2)
    everybody = samples.chosen_targets(made, 30, 100, torch.Generator().manual_seed(0))
    assert int((reach[everybody] > 1).sum()) == moving


def tables(folder: Path, count: int) -> Path:
    """Files of one's own, a car that drives along x in each."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        rows = "\n".join(f"{t / 10:.1f},{k},{t * 0.5 + i},{3 * k}" for t in range(120) for k in (1, 2))
        (folder / f"{i}.csv").write_text(f"time,id,x,y\n{rows}\n")
    return folder


def test_recordings_are_held_out_whole(tmp_path: Path) -> None:
    root = tables(tmp_path, 6)
    config = replace(PRESETS["small"], windows=((20, 30),))
    for fold in range(3):
        parts = {}
        for split in ("train", "val", "test", "all"):
            found = samples.data(replace(config, fold=fold), split, root)
            assert found is not None
            parts[split] = {part.tracks.name for part in found.parts}
        assert len(parts["train"]) == 4 and len(parts["test"]) == 2 and not parts["train"] & parts["test"]
        assert parts["val"] == parts["test"] and parts["all"] == parts["train"] | parts["test"]
    assert samples.data(replace(config, fold=-1), "val", root) is None
    with pytest.raises(InputError, match="groups asks for"):
        samples.data(replace(config, groups=("waymo",)), "train", root)
    with pytest.raises(InputError, match="split is"):
        samples.data(config, "dev", root)


def test_of_one_recording_the_end_is_held_out(tmp_path: Path) -> None:
    root = tables(tmp_path, 1)
    config = replace(PRESETS["small"], windows=((10, 15),), future_steps=15)
    train, val = (samples.data(config, split, root) for split in ("train", "val"))
    assert train is not None and val is not None
    last_seen = max(step for _, step, _ in train.index) + 15
    assert last_seen < min(step for _, step, _ in val.index), "no future step of training is held out"


def test_settings_follow_from_ones_own_tracks(tmp_path: Path) -> None:
    root = tables(tmp_path, 3)
    config = samples.fit_config(PRESETS["small"], root)
    assert config.step_s == 0.1 and len(config.fan) == 6
    slow = tmp_path / "slow"
    slow.mkdir()
    for i in range(3):
        rows = "\n".join(f"{t * 0.4:.1f},a,{t},0,pedestrian" for t in range(60))
        (slow / f"{i}.csv").write_text(f"time,id,x,y,type\n{rows}\n")
    config = samples.fit_config(PRESETS["small"], slow)
    assert config.step_s == pytest.approx(0.4) and config.windows == ((5, 8), (12, 15)) and config.future_steps == 15
    assert config.observed_steps == 5


def test_a_training_from_weights_keeps_their_steps(tmp_path: Path) -> None:
    """Tracks of five a second are resampled to the ten of the weights, which else would not fit."""
    import json

    from percepta import checkpoint
    from percepta.train import train

    tiny = replace(PRESETS["tiny"], groups=("csv",), observed_steps=5, future_steps=8, windows=((5, 8),))
    start = tmp_path / "start.safetensors"
    checkpoint.save(start, build(tiny), system="forecast", preset="custom", config=tiny)
    for i in range(3):
        rows = "\n".join(f"{t * 0.2:.1f},a,{t},0" for t in range(30))
        (tmp_path / f"{i}.csv").write_text(f"time,id,x,y\n{rows}\n")
    for begun, step_s in ((None, 0.2), (start, 0.1)):
        config = replace(tiny, train=replace(tiny.train, steps=1, batch_size=2))
        out = tmp_path / f"run{step_s}"
        train("forecast", config, root=tmp_path, out=out, start=begun, device="cpu")
        assert json.loads((out / "config.json").read_text())["step_s"] == pytest.approx(step_s)
    other = replace(tiny, windows=((4, 6),))
    assert samples.go_on(samples.fit_config(other, tmp_path), other, tiny) == replace(other, fan=tiny.fan)
    other = samples.with_step(other, 0.2)
    assert samples.go_on(other, other, tiny) == tiny, "windows of other steps are those of the weights"
    with pytest.raises(InputError, match="is a file"):
        train("forecast", tiny, root=tmp_path, out=start)


def test_one_bad_table_stops_no_training(tmp_path: Path) -> None:
    root = tables(tmp_path, 3)
    (root / "bad.csv").write_text("time,id,x,y\n0.0,a,nan,0\n0.1,a,1,0\n")
    config = replace(PRESETS["tiny"], groups=("csv",), fold=-1)
    with pytest.warns(UserWarning, match=r"bad.csv, line 2"):
        found = samples.data(config, "train", root)
    assert found is not None and len(found.parts) == 3
    with pytest.raises(InputError, match="line 2"):
        samples.data(replace(config, train=replace(config.train, strict=True)), "train", root)
    for fold in (9, -2):
        with pytest.raises(InputError, match="fold is 0 to 2"):
            samples.data(replace(config, fold=fold), "train", root)
    for i in range(3):
        (root / f"{i}.csv").write_text("time,id,x,y\n0.0,a,b,0\n")
    with pytest.raises(InputError, match="none of its recordings can be read"), pytest.warns(UserWarning):
        samples.data(config, "train", root)


def test_what_is_too_short_is_said_by_the_check(tmp_path: Path) -> None:
    for seconds, lacks in ((6, ["train on", "evaluate on"]), (12, ["evaluate on"]), (22, [])):
        path = tmp_path / f"{seconds}.csv"
        rows = "\n".join(f"{t / 10:.1f},a,{t},0" for t in range(seconds * 10))
        path.write_text(f"time,id,x,y\n{rows}\n")
        said = [one.message for one in check.check(path).warnings]
        assert [word for word in ("train on", "evaluate on") if any(f"too short to {word}" in s for s in said)] == lacks


@pytest.mark.parametrize(
    ("kind", "rows", "said"),
    [
        ("cyclist", [(t / 10, t * 0.4 + 60 * (t > 40), 0) for t in range(80)], "jumps"),
        ("pedestrian", [(t / 10, t * 0.1 + 60 * (t > 40), 0) for t in range(80) if not 40 < t < 60], "comes back"),
        ("vehicle", [(t / 10, t * 1e-5, 0) for t in range(80)], "degrees or kilometres"),
        ("vehicle", [(t / 10, t, 0) for t in range(80)], ""),
    ],
)
def test_the_check_knows_every_kind(
    tmp_path: Path, kind: str, rows: list[tuple[float, float, float]], said: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,id,x,y,type\n" + "".join(f"{t:.1f},a,{x},{y},{kind}\n" for t, x, y in rows))
    found = check.check(path)
    texts = " ".join(one.message for one in (*found.problems, *found.warnings))
    if said:
        assert said in texts
    else:
        assert not any(word in texts for word in ("jumps", "comes back", "degrees"))
    assert found.counts["recordings with steps of 0.1 s"] == 1


def test_tables_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    from percepta.datasets import traffic as sets

    path = tmp_path / "a.csv"
    for content, said in (
        (b"", "the file is empty"),
        ("time,id,x,y\n".encode("utf-16"), "no text in UTF-8"),
        (b"time;id;x;y\n0;a;1;2\n", "semicolons or tabs"),
        (b"time,id,x,y,x\n0,a,1,2,3\n", "the column x occurs twice"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            _ = sets.read(path)[0]
    path.write_text("time,id,x,y\n0.0,a,1,2\n0.1,a,1,2\n")
    lane = '{"type":"FeatureCollection","features":[{"geometry":{"type":"LineString","coordinates":[[0,NaN],[1,1]]}}]}'
    path.with_suffix(".geojson").write_text(lane)
    with pytest.raises(InputError, match="finite"):
        _ = sets.read(path)[0]


def test_an_agent_has_its_most_frequent_type(tmp_path: Path) -> None:
    kinds = ["bus", *["vehicle"] * 5, "bus"]
    path = tmp_path / "a.csv"
    path.write_text("time,id,x,y,type\n" + "".join(f"{t / 10:.1f},a,{t},0,{k}\n" for t, k in enumerate(kinds)))
    assert KINDS[tracks_csv.read_file(path).kinds[0]] == "vehicle"


def test_all_of_every_future_is_in_the_picture() -> None:
    from percepta.systems.forecast.drawing import Scene, _view

    way = np.zeros((1, 200, 3, 2))
    way[0, 0, :, 0] = [5, 20, 80]  # one of 200 modes
    scene = Scene(StreetMap(), np.zeros((1, 2, 2)), np.array([0]), way, np.full((1, 200), 1 / 200))
    for place in _view(scene, 100).pixels(way.reshape(-1, 2)):
        assert all(0 <= value <= 100 for value in place)


def test_windows_of_one_scene_left_out(shared_data: Path) -> None:
    root = shared_data / "forecast"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    for fold, count in ((0, 364), (3, 2356)):  # walkers of eth and zara1 that are seen at all twenty steps
        test = samples.data(replace(PRESETS["people"], fold=fold), "test", root)
        assert test is not None
        scored = sum(int(test.scored(test.part(p).tracks, step, 8, 12).sum()) for p, step, _ in test.index)
        assert scored == count
        train = samples.data(replace(PRESETS["people"], fold=fold), "train", root)
        assert train is not None
        own = {"eth": "biwi_eth", "zara1": "zara01"}[eth_ucy.SCENES[fold]]
        assert not any(own in part.tracks.name for part in train.parts)


# ------------------------------------------------------------------------------------------------------------- losses


def test_errors_by_numpy() -> None:
    rng = np.random.default_rng(0)
    way, truth, known = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(3, 5, 2)), rng.random((3, 5)) < 0.6
    known[0] = [True, True, False, False, False]
    mean, end = errors(*(torch.from_numpy(v) for v in (way, truth, known)))
    masked = np.where(known[..., None], truth, np.nan)
    np.testing.assert_allclose(end, fc.fde(way, masked), atol=1e-3)
    np.testing.assert_allclose(mean - 0.5 * end, fc.ade(way, masked), atol=1e-3)


def test_modes_that_are_never_near_learn_only_in_the_beginning(windows: Windows) -> None:
    torch.manual_seed(0)
    net = build(TINY)
    batch = windows.collate([windows[(0, i)] for i in range(3)])
    early = loss(net, batch, Step(0, 0, torch.Generator()))
    late = loss(net, batch, Step(TINY.train.steps, 0, torch.Generator()))
    assert late["single"] < early["single"], "sharper shares: nearer to the best mode alone"
    assert torch.equal(early["one"], late["one"])
    nobody = {**batch, "known": torch.zeros_like(batch["known"])}
    assert loss(net, nobody, Step(0, 0, torch.Generator()))["loss"].item() == 0.0


# --------------------------------------------------------------------------------------------------------- prediction


def test_fewer_modes_are_the_most_probable() -> None:
    system, tracks = untrained(), street()
    every = system.predict(tracks, last=25)
    two = system.predict(tracks, last=25, modes=2)
    np.testing.assert_allclose(every.probability.sum(1), 1)
    for i in range(len(every.ids)):
        best = np.sort(np.argsort(-every.probability[i], kind="stable")[:2])
        np.testing.assert_array_equal(two.position[i], every.position[i, best])
    np.testing.assert_allclose(two.probability.sum(1), 1)
    one = system.predict(tracks, last=25, modes=1)
    assert one.probability.tolist() == [[1.0]] * len(every.ids)
    joint = system.predict(tracks, last=25, joint=True)
    assert joint.joint and np.ptp(joint.probability, axis=0).max() < 1e-12, "a scene's futures have one probability"
    short = system.predict(tracks, last=25, horizon_s=1.0)
    assert short.position.shape[2] == 10 and short.time_s[-1] == pytest.approx(1.0)
    some = system.predict(tracks, last=25, agents=every.ids[1:3])
    assert some.ids == every.ids[1:3] and len(some.others) == len(every.ids) - 2
    np.testing.assert_allclose(some.position, every.position[1:3], atol=1e-5)
    for wrong, message in (
        ({"modes": 9}, "modes are 1 to"), ({"horizon_s": 99.0}, "horizon_s"), ({"last": 999}, "step 999"),
        ({"agents": ("ghost",)}, "ghost is not visible"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            system.predict(tracks, **{"last": 25, **wrong})
    nobody = replace(tracks, position=np.full_like(tracks.position, np.nan))
    with pytest.raises(InputError, match="nobody is visible"):
        system.predict(nobody, last=25)


def test_the_last_step_of_interpolated_tracks_is_a_keyframe() -> None:
    tracks, system = replace(street(), keyframe_steps=5), untrained()
    last = tracks.steps - 1 - (tracks.steps - 1) % 5
    np.testing.assert_array_equal(system.predict(tracks).position, system.predict(tracks, last=last).position)


def test_a_session_says_what_predict_says() -> None:
    """Step by step, with who comes and goes; and the kinds and headings that are known."""
    tracks, system = street(9, cars=7), untrained()
    kinds = {name: KINDS[kind] for name, kind in zip(tracks.ids, tracks.kinds, strict=True)}
    session = system.session(tracks.map, kinds=kinds)
    result = None
    for step in range(31):
        there = np.flatnonzero(np.isfinite(tracks.position[:, step]).all(1))
        headings = {
            tracks.ids[i]: float(tracks.heading[i, step]) for i in there if np.isfinite(tracks.heading[i, step])
        }
        where = {tracks.ids[i]: tracks.position[i, step].tolist() for i in there}
        result = session.step(where, step * 0.1, headings=headings)
    assert result is not None
    expected = system.predict(tracks, last=30)
    assert result.ids == expected.ids
    np.testing.assert_allclose(result.position, expected.position, atol=1e-3)


def test_ids_come_and_go() -> None:
    session = untrained().session()
    assert session.step({}).position.shape == (0, 3, 30, 2)
    first = session.step({"a": (0.0, 0.0)})
    assert first.ids == ("a",) and np.isfinite(first.position).all(), "seen once is enough"
    session.step({"a": (1.0, 0.0), "b": (9.0, 9.0)})
    assert session.step({"b": (9.0, 9.5)}).ids == ("b",)
    back = session.step({"a": (3.0, 0.0)})
    assert np.isfinite(back.past[0, -4:]).all(), "a gap shorter than a second is bridged"
    late = session.step({"a": (80.0, 0.0)}, 20.0)
    assert np.isfinite(late.past[0]).all(-1).sum() == 1, "after a long gap it may be somebody else"
    assert len(session._tracks) == 1, "b was forgotten"
    with pytest.raises(InputError, match="time has to go on"):
        session.step({"a": (0.0, 0.0)}, 19.0)
    with pytest.raises(InputError, match="agent c: a position is two finite"):
        session.step({"c": (0.0, float("nan"))})
    session.kinds["a"] = "ghost"
    with pytest.raises(InputError, match="'ghost'"):
        session.step({"a": (0.0, 0.0)})


def test_one_alone_is_the_best_single_trajectory() -> None:
    net = build(TINY).eval()
    sample = Windows(TINY, [Part(street())], False)
    with torch.no_grad():
        out = net.predict(sample.collate([sample[(0, 0)]]))
    way, p = chosen(out, 1, False)
    np.testing.assert_allclose(way[:, 0], out.one)
    way, p = chosen(out, 3, True)
    np.testing.assert_allclose(way, out.joint)
    mean = out.joint_logits.mean(0).double().softmax(0)
    np.testing.assert_allclose(p[0], mean, atol=1e-9)


# --------------------------------------------------------------------------------------------------------- evaluation


def test_an_evaluation_is_the_metrics_of_its_predictions() -> None:
    """The same numbers by `predict` and `metrics.forecast`, agent by agent."""
    system = untrained()
    test = Windows(TINY, [Part(street(seed)) for seed in (1, 2)], False)
    with torch.inference_mode():
        found = collect(system.model, batches(test, 4))
    (rows,) = found.rows.values()
    ours: dict[str, list[float]] = {"minFDE": [], "one mode FDE": [], "joint minFDE": [], "minFDE cv": []}
    for place, last, _ in test.index:
        tracks = test.part(place).tracks
        moment = tracks.moment(last, 10, 30)
        ids = tuple(np.array(moment.ids)[moment.complete].tolist())
        truth = moment.truth[moment.complete]
        result = system.predict(tracks, last=last, agents=ids)
        ours["minFDE"] += fc.score(result.position, truth).min_fde.tolist()
        one = system.predict(tracks, last=last, agents=ids, modes=1)
        ours["one mode FDE"] += fc.score(one.position, truth).min_fde.tolist()
        joint = system.predict(tracks, last=last, agents=ids, joint=True)
        ours["joint minFDE"] += [fc.joint_score(joint.position, truth).min_fde] * len(truth)
        past = moment.past[moment.complete]
        straight = past[:, -1, None] + (past[:, -1] - past[:, -2])[:, None] * np.arange(1, 31)[:, None]
        ours["minFDE cv"] += fc.score(straight[:, None], truth).min_fde.tolist()
    for name, values in ours.items():
        np.testing.assert_allclose(rows.values[name], values, atol=2e-3, err_msg=name)
    with torch.inference_mode():
        shown = evaluate(system.model, list(batches(test, 4)), examples=2)
    assert shown.metrics["minFDE, 3 s"].value == pytest.approx(rows.mean("minFDE")) and shown.blocks
    assert set(shown.metrics["minFDE, 3 s"].baselines) == {"constant velocity", "fan"}


def test_means_are_over_collections() -> None:
    rows = Rows()
    rows.add("a", "1", {"x": [1.0, 1.0, 1.0]})
    rows.add("b", "2", {"x": [5.0]})
    assert rows.mean("x") == 3.0 and rows.by_group("x") == {"a": 1.0, "b": 5.0}
    low, high = grouped_interval([1.0, 3.0, 10.0, 10.0], ["a", "a", "b", "b"], ["1", "2", "3", "3"])
    assert low == pytest.approx((1 + 10) / 2) and high == pytest.approx((3 + 10) / 2)
    assert grouped_interval([2.0, 4.0], ["a", "b"], ["1", "2"]) == (3.0, 3.0), "one recording each: no spread is known"


def test_what_an_agent_does_not_have_counts_nowhere() -> None:
    rows, known = Rows(), Rows()
    for name, values in (("1", [0.5, np.nan]), ("2", [0.25]), ("3", [np.nan])):
        rows.add("c" if name == "3" else "a", name, {"x": values})
        known.add("a", name, {"x": [value for value in values if value == value]})
    assert rows.by_group("x") == {"a": 0.375}
    assert rows.metric("x", "", {}) == known.metric("x", "", {}) and rows.metric("x", "", {}).n == 2


def test_anybodys_predictions_are_scored(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra percepta[data]")
    from test_forecast_files import scenario_files

    tracks = argoverse2.read(scenario_files(tmp_path / "truth"))[0]
    truth = {name: tracks.position[i, 50:] for i, name in enumerate(tracks.ids)}
    p = np.array([0.7, 0.3])
    made = {
        name: argoverse2.Prediction(np.stack([way + 3, way + np.array([1.0, 0])]), p) for name, way in truth.items()
    }
    ghost = {"ghost": argoverse2.Prediction(np.zeros((2, 60, 2)), p)}
    path = argoverse2.write_submission(tmp_path / "x.parquet", {tracks.name: {**made, **ghost}, "other": ghost})
    metrics, left_out = score_submission(path, tmp_path / "truth")
    assert metrics["minADE"].value == pytest.approx(1.0) and metrics["miss rate"].value == 0
    assert metrics["brier-minFDE"].value == pytest.approx(1 + 0.7**2)
    assert metrics["minFDE"].n == len(made) and "constant velocity" in metrics["minFDE"].baselines
    assert any("ghost" in text for text in left_out) and any("other" in text for text in left_out)
    assert not any("no prediction" in text or "modes" in text or "steps" in text for text in left_out)
    import pyarrow
    from pyarrow import parquet

    way = made["7"].position[0, :30].T.tolist()
    seven = zip(argoverse2.SUBMISSION, ("s1", "7", 0.5, *way), strict=True)
    parquet.write_table(pyarrow.table({name: [value] * 7 for name, value in seven}), tmp_path / "z.parquet")
    said = " ".join(score_submission(tmp_path / "z.parquet", tmp_path / "truth")[1])
    assert "no prediction of 9 in s1" in said, "agent 9 is scored, AV is not"
    assert "predicted for 30 steps" in said and "more than the challenge's 6 modes" in said and "sum to 1" in said
    path = argoverse2.write_submission(tmp_path / "y.parquet", {"other": ghost})
    with pytest.raises(InputError, match="no prediction is about"):
        score_submission(path, tmp_path / "truth")


# --------------------------------------------------------------------------------------------------------------- fans


def test_fans_by_hand() -> None:
    past = np.array([[[0.0, 0], [0, 2]]])  # two metres a step, up
    step = fans.last_displacement(past)
    straight = fans.CONSTANT_VELOCITY.predict(past[:, -1], step, 3)
    assert straight.tolist() == [[[[0, 4], [0, 6], [0, 8]]]]
    turn = fans.Fan((90.0, 0.0), (1.0, 0.5), False, (0.5, 0.5)).predict(past[:, -1], step, 2)
    np.testing.assert_allclose(turn[0], [[[-2, 2], [-4, 2]], [[0, 3], [0, 4]]], atol=1e-12)
    arc = fans.Fan((90.0,), (1.0,), True, (1.0,)).predict(past[:, -1], step, 2)
    np.testing.assert_allclose(arc[0, 0], [[0, 4], [-2, 4]], atol=1e-12)
    hidden = np.array([[[np.nan, np.nan], [0, 2.0]], [[0.0, 0], [1, 1]]])
    assert fans.last_displacement(hidden).tolist() == [[0, 0], [1, 1]]


@few
@given(SEEDS)
def test_a_chosen_fan_is_better_than_constant_velocity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(60, 4, 2)).cumsum(1)
    truth = past[:, -1:] + rng.normal(size=(60, 5, 2)).cumsum(1)
    step = fans.last_displacement(past)
    errors_ = []
    for count in (1, 2, 4):
        fan = fans.choose(past, truth, count)
        assert sum(fan.probability) == pytest.approx(1)
        errors_.append(fc.score(fan.predict(past[:, -1], step, 5), truth).min_fde.mean())
    constant = fc.score(fans.CONSTANT_VELOCITY.predict(past[:, -1], step, 5), truth).min_fde.mean()
    assert constant + 1e-9 >= errors_[0] >= errors_[1] >= errors_[2]
    with pytest.raises(InputError, match="training windows"):
        fans.choose(past[:0], truth[:0], 2)


# -------------------------------------------------------------------------------------------------------------- check


def of(position: np.ndarray, dt_s: float = 0.1, kind: str = "vehicle", **more: Any) -> Tracks:
    n, t = position.shape[:2]
    ids, kinds = tuple(map(str, range(n))), np.full(n, KINDS.index(kind))
    return Tracks("r", "csv", dt_s, ids, kinds, position, np.full((n, t), np.nan), np.full((n, 2), np.nan), **more)


def test_what_is_odd_is_said() -> None:
    rng = np.random.default_rng(0)
    way = (rng.normal(size=(4, 60, 2)) * 0.05 + [0.8, 0.1]).cumsum(1)
    assert check.of_recording(of(way)) == ([], [])
    pixels = check.of_recording(of(way * 40))[0]
    assert len(pixels) == 1 and "pixels" in pixels[0]
    jump = way.copy()
    jump[2, 30:] += 40
    assert "agent 2 jumps" in check.of_recording(of(jump))[0][0]
    gone = way.copy()
    gone[1, 20:40] = np.nan
    gone[1, 40:] += 300
    assert any("agent 1 is gone from step 19 to 40" in text for text in check.of_recording(of(gone))[1])
    keys = way[:, ::5]
    between = np.stack([np.interp(np.arange(56), np.arange(12) * 5, keys[i, :, d]) for i in range(4) for d in (0, 1)])
    straight = between.reshape(4, 2, 56).transpose(0, 2, 1)
    assert check.keyframe_steps(straight) == 5 and check.keyframe_steps(way) == 0
    assert any("every 5 steps" in text for text in check.of_recording(of(straight))[1])
    assert check.of_recording(of(straight, keyframe_steps=5))[1] == []
    short = way.copy()
    short[:, 30] = np.nan
    assert any("longer than 3.0 s in a row" in text for text in check.of_recording(of(short))[1])
    lone = np.full((1, 30, 2), np.nan)
    assert check.of_recording(of(lone))[0]


def test_check_reads_every_recording(tmp_path: Path) -> None:
    root = tables(tmp_path, 3)
    (root / "bad.csv").write_text("time,id,x,y\n0,a,1,2\n0,a,1,3\n1,a,1,2\n")
    found = check.check(root, examples=2)
    assert not found.ok and "two positions" in found.problems[0].message and "bad" in str(found.problems[0].file)
    assert found.counts["recordings of csv"] == 3 and found.counts["agents"] == 6
    assert found.sheet().size[0] > 100
    with pytest.raises(InputError):
        check.check(tmp_path / "nothing")


def test_small_is_small() -> None:
    for preset in ("small", "people"):
        net = build(PRESETS[preset])
        assert isinstance(net, SmallNet)
        assert sum(value.numel() for value in net.parameters()) * 2 <= 2e6, "at most 2 MB in 16 bits"


def test_a_fan_by_hand_begins_with_constant_velocity() -> None:
    past, step = np.zeros((2, 2)), np.array([[1.0, 0.0], [0.0, 2.0]])
    way = fans.by_hand(6, arc=True).predict(past, step, 30)
    np.testing.assert_allclose(way[:, 0], fans.CONSTANT_VELOCITY.predict(past, step, 30)[:, 0])
    assert way.shape == (2, 6, 30, 2) and len({tuple(end) for end in way[0, :, -1].round(3)}) == 6
    assert sum(fans.by_hand(20, arc=False).probability) == pytest.approx(1)
