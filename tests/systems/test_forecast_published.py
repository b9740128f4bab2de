"""The published networks of forecasting: held to what the official code computes, and to its checkpoints."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import Tensor

import percepta
from percepta.contract import Step
from percepta.datasets import argoverse2
from percepta.datasets.tracks import StreetMap
from percepta.errors import InputError
from percepta.nn.archive import check_keys, read_archive
from percepta.systems import TABLE
from percepta.systems.forecast import PRESETS, Config, HiVTSettings, QCNetSettings, keys, stgcnn
from percepta.systems.forecast.data import Part, Windows
from percepta.systems.forecast.hivt import HiVT, HiVTInputs, hivt_losses, into_own
from percepta.systems.forecast.losses import loss
from percepta.systems.forecast.model import build
from percepta.systems.forecast.predict import Forecast
from percepta.systems.forecast.qcnet import QCNet, qcnet_losses
from percepta.systems.forecast.qcnet_inputs import QCNetInputs, qcnet_inputs
from percepta.systems.forecast.scene import frames_of, past_of
from percepta.worlds.street.traffic import traffic

in_the_table = pytest.mark.skipif("forecast" not in TABLE, reason="forecast is not in the table of systems yet")


def by_rule(golden: Path, name: str) -> dict[str, Tensor]:
    """The weights of a golden folder, made by its rule."""
    spec = importlib.util.spec_from_file_location("weights_by_rule", golden / "weights_by_rule.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {key: torch.from_numpy(np.asarray(value)) for key, value in module.state_dict(golden / name).items()}


def close(ours: Tensor, theirs: np.ndarray, share: float, what: str = "") -> None:
    """Whether a tensor agrees to a share of its standard deviation."""
    expected = torch.from_numpy(np.asarray(theirs))
    assert ours.shape == expected.shape, what
    limit = share * max(float(expected.double().std()) if expected.numel() > 1 else abs(float(expected)), 1e-6)
    worst = float((ours.detach().double() - expected.double()).abs().max())
    assert worst <= limit, f"{what}: {worst:.2e} apart, allowed {limit:.2e}"


# -------------------------------------------------------------------------------------------------- Social-STGCNN


def walkers(io: dict[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    """(observed, future) positions, n t 2."""
    position = torch.from_numpy(io["in.positions"]).transpose(1, 2)
    return position[:, :8], position[:, 8:]


def check_stgcnn(net: stgcnn.SocialSTGCNN, io: dict[str, np.ndarray], prefix: str, share: float) -> None:
    past, future = walkers(io)
    with torch.no_grad():
        values = net.distribution(past)
        close(values.permute(2, 0, 1)[None], io[f"{prefix}V_pred"], share, "V_pred")
        moved = torch.cat([past[:, -1:], future], 1).diff(dim=1).transpose(0, 1)
        loss = stgcnn.negative_log_likelihood(values, moved)
        close(loss, io[f"{prefix}loss"], share, "loss")
    way = values[..., :2].cumsum(0) + past[:, -1]
    close(way, io[f"{prefix}mean_absolute"], share, "mean")
    away = (way.transpose(0, 1) - future).norm(dim=-1)
    close(away.mean(), io[f"{prefix}ade"], share, "ade")
    close(away[:, -1].mean(), io[f"{prefix}fde"], share, "fde")


def test_social_stgcnn_as_published_code(golden: Path) -> None:
    io = load_file(golden / "social-stgcnn" / "io.safetensors")
    net = build(PRESETS["social-stgcnn"]).eval()
    assert isinstance(net, stgcnn.SocialSTGCNN)
    net.load_state_dict(by_rule(golden, "social-stgcnn"))
    assert sum(value.numel() for value in net.parameters()) == 7563
    past, _ = walkers(io)
    moved = torch.nn.functional.pad(past.diff(dim=1), (0, 0, 1, 0)).transpose(0, 1)
    close(moved, io["mid.V_obs"], 1e-6, "V_obs")
    close(stgcnn.graph(moved), io["mid.A_obs"], 1e-4, "A_obs")
    with torch.no_grad():
        close(net.st_gcns[0](moved.permute(2, 0, 1)[None], stgcnn.graph(moved)), io["mid.st_gcn_last"], 1e-4, "st_gcn")
    check_stgcnn(net, io, "out.", 1e-4)


@in_the_table
@pytest.mark.parametrize("scene", ["eth", "hotel", "univ", "zara1", "zara2"])
def test_published_weights_of_social_stgcnn(golden: Path, scene: str) -> None:
    folder = golden / "published" / "social-stgcnn"
    system = percepta.load("forecast", preset="social-stgcnn", weights=folder / scene / "val_best.pth", device="cpu")
    io = load_file(folder / "io.safetensors")
    check_stgcnn(system.model, io, f"out.{scene}.", 1e-5)
    assert system.model.weights_hash


@in_the_table
def test_another_networks_checkpoint_is_refused(golden: Path) -> None:
    folder = golden / "published" / "social-stgcnn" / "eth" / "val_best.pth"
    state = read_archive(folder)
    with pytest.raises(InputError, match="presets social-stgcnn"):
        keys.convert(state, PRESETS["small"])
    with pytest.raises(InputError, match="not our own network"):
        percepta.load("forecast", preset="small", weights=folder, device="cpu")


def test_samples_of_social_stgcnn_have_their_gaussian() -> None:
    """A Gaussian of the network, written out: mean and covariance of many draws."""
    values = torch.tensor([[[0.3, -0.2, -0.5, 0.2, 0.6]]], dtype=torch.float64)
    mean, factor = stgcnn.moments(values)
    x, y, rho = np.exp(-0.5), np.exp(0.2), np.tanh(0.6)
    expected = torch.tensor([[x * x, rho * x * y], [rho * x * y, y * y]], dtype=torch.float64)
    torch.testing.assert_close(factor[0, 0] @ factor[0, 0].T, expected)
    density = torch.distributions.MultivariateNormal(mean[0, 0], expected)
    truth = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64)
    torch.testing.assert_close(stgcnn.negative_log_likelihood(values, truth), -density.log_prob(truth[0, 0]))


# ---------------------------------------------------------------------------------------------------------- QCNet


def qcnet_config(golden: Path, name: str) -> Config:
    """Our settings for a golden folder."""
    m = json.loads((golden / name / "config.json").read_text())["model"]
    settings = QCNetSettings(
        hidden=m["hidden_dim"], heads=m["num_heads"], head_width=m["head_dim"], bands=m["num_freq_bands"],
        map_layers=m["num_map_layers"], agent_layers=m["num_agent_layers"], decoder_layers=m["num_dec_layers"],
        recurrent_steps=m["num_recurrent_steps"], time_span=m["time_span"], memory_steps=m["num_t2m_steps"],
        polygon_radius_m=float(m["pl2pl_radius"]), map_radius_m=float(m["pl2a_radius"]),
        agent_radius_m=float(m["a2a_radius"]), mode_map_radius_m=float(m["pl2m_radius"]),
        mode_agent_radius_m=float(m["a2m_radius"]), dropout=m["dropout"], heading=m["output_head"],
    )  # fmt: skip
    return replace(PRESETS["qcnet"], modes=m["num_modes"], qcnet=settings)


def qcnet_scene(io: dict[str, np.ndarray]) -> QCNetInputs:
    """The official tensors of a scene as ours."""

    def get(name: str) -> Tensor:
        value = torch.from_numpy(np.asarray(io[f"in.{name}"]))
        return value.long() if value.dtype in (torch.uint8, torch.int16) else value

    return QCNetInputs(
        get("agent.valid_mask")[:, :50], get("agent.predict_mask").any(1), get("agent.position")[:, :50, :2],
        get("agent.heading")[:, :50], get("agent.velocity")[:, :50, :2], get("agent.type"),
        get("map_point.position")[:, :2], get("map_point.orientation"), get("map_point.magnitude"),
        get("map_point.type"), get("map_point.side"), get("point_to_polygon.edge_index")[1],
        get("map_polygon.position")[:, :2], get("map_polygon.orientation"), get("map_polygon.type"),
        get("map_polygon.is_intersection"), get("polygon_to_polygon.edge_index"), get("polygon_to_polygon.type"),
    )  # fmt: skip


def check_qcnet(net: QCNet, scene: QCNetInputs, io: dict[str, np.ndarray]) -> None:
    """Encoder, trajectories, losses against a golden file."""
    with torch.no_grad():
        points, polygons, agents = net.encode(scene)
        close(points[::16], io["mid.x_pt_every16"], 5e-4, "points")
        close(polygons, io["mid.x_pl_last"], 5e-4, "polygons")
        close(agents[:, 9::10], io["mid.x_a_every10"], 5e-4, "agents")
        found = net.decoder(scene, agents, polygons)
        rows = scene.predicted  # the others get outputs that mean nothing
        for key, ours in {
            "loc_propose_pos": found.proposed, "loc_refine_pos": found.refined, "pi": found.logits,
            "scale_propose_pos": found.proposed_scale, "scale_refine_pos": found.refined_scale,
        }.items():  # fmt: skip
            if f"out.{key}" in io:
                close(ours[rows], io[f"out.{key}"][rows.numpy()], 5e-4, key)
        for key, ours in {
            "loc_propose_head": found.proposed_heading, "loc_refine_head": found.refined_heading,
            "conc_propose_head": found.proposed_concentration, "conc_refine_head": found.refined_concentration,
        }.items():  # fmt: skip
            if ours is not None:
                close(ours[rows], io[f"out.{key}"][rows.numpy()][..., 0], 1e-3 if "conc" in key else 5e-4, key)
        target = torch.from_numpy(io["mid.target"])
        known = torch.from_numpy(io["in.agent.predict_mask"])[:, 50:]
        losses = qcnet_losses(found, target[..., :2], target[..., 3], known)
    for key, name in {
        "loss": "total",
        "propose": "reg_loss_propose",
        "refine": "reg_loss_refine",
        "choice": "cls_loss",
    }.items():
        assert float(losses[key]) == pytest.approx(float(io[f"loss.{name}"]), rel=5e-4), name


@pytest.mark.parametrize("name", ["qcnet", "qcnet-head"])
def test_qcnet_as_published_code(golden: Path, name: str) -> None:
    io = load_file(golden / name / "io.safetensors")
    net = build(qcnet_config(golden, name)).eval()
    assert isinstance(net, QCNet)
    state = by_rule(golden, name)
    check_keys(net.state_dict(), state, name)
    net.load_state_dict(state)
    count = json.loads((golden / name / "config.json").read_text())["parameters"]
    assert sum(value.numel() for value in net.parameters()) == count
    check_qcnet(net, qcnet_scene(io), io)


def test_the_preset_qcnet_is_the_published_one(golden: Path) -> None:
    assert qcnet_config(golden, "qcnet") == PRESETS["qcnet"]


@in_the_table
def test_qcnet_from_parquet_and_map(golden: Path, shared_data: Path, tmp_path: Path) -> None:
    """The same tensors, and the same trajectories in the world, from the files of the scenario."""
    pytest.importorskip("pyarrow", reason="the extra percepta[data]")
    name = json.loads((golden / "qcnet" / "config.json").read_text())["scenario"]["id"]
    io = load_file(golden / "qcnet" / "io.safetensors")
    tracks = argoverse2.read_scenario(shared_data / "forecast" / f"scenario_{name}.parquet")
    moment = tracks.moment(49, 50)
    ours, theirs = qcnet_inputs(moment, PRESETS["qcnet"]), qcnet_scene(io)
    visible = torch.from_numpy(io["in.agent.valid_mask"][:, 49])
    for key, a, b in zip(QCNetInputs._fields, ours, theirs, strict=False):
        if key in ("link", "link_type"):
            continue  # compared below, in any order
        if key == "predicted":
            assert (a[b]).all(), "who is seen later is visible now"
        elif a.is_floating_point():
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
        else:
            assert torch.equal(a, b), key
    for key in ("link",):
        assert {(*pair, kind) for *pair, kind in zip(*ours[16].tolist(), ours[17].tolist(), strict=True)} == {
            (*pair, kind) for *pair, kind in zip(*theirs[16].tolist(), theirs[17].tolist(), strict=True)
        }, key
    state = by_rule(golden, "qcnet")
    save_file(state, tmp_path / "published.safetensors")
    system = percepta.load("forecast", preset="qcnet", weights=tmp_path / "published.safetensors", device="cpu")
    result = system.predict(tracks)
    assert result.position.shape == (len(moment.agents), 6, 60, 2) and visible.any()
    rows = ours[-1].numpy()
    frames = frames_of(past_of(moment, PRESETS["qcnet"]))
    own = frames.to_own(result.position)
    kept = theirs.predicted.numpy()[rows]
    expected = io["out.loc_refine_pos"][rows][kept]
    assert np.abs(own[kept] - expected).max() < 5e-4 * expected.std()
    blind = replace(tracks, position=np.where(np.arange(110)[:, None] > 49, np.nan, tracks.position))
    np.testing.assert_array_equal(system.predict(blind).position, result.position)


# ------------------------------------------------------------------------------------------------------------ HiVT


def test_hivt_as_published_code(golden: Path) -> None:
    io = load_file(golden / "hivt" / "io.safetensors")
    m = json.loads((golden / "hivt" / "config.json").read_text())["model"]
    config = PRESETS["hivt"]
    assert config.hivt == HiVTSettings(
        m["embed_dim"], m["num_heads"], m["num_temporal_layers"], m["num_global_layers"], float(m["local_radius"]),
        m["dropout"],
    )  # fmt: skip
    assert (config.observed_steps, config.future_steps, config.modes) == (20, 30, 6)
    net = build(config).eval()
    assert isinstance(net, HiVT)
    state = by_rule(golden, "hivt")
    check_keys(net.state_dict(), state, "hivt")
    buffer = {"local_encoder.temporal_encoder.attn_mask": torch.zeros(21, 21)}
    assert keys.convert(state | buffer, config).keys() == state.keys()
    net.load_state_dict(state)

    def get(name: str) -> Tensor:
        value = torch.from_numpy(np.asarray(io[f"in.{name}"]))
        return value.long() if value.dtype in (torch.uint8, torch.int16) else value

    hidden = get("padding_mask")
    scene = HiVTInputs(
        get("x"), get("positions")[:, :20], hidden[:, :20], get("bos_mask"), get("rotate_angles"), get("lane_vectors"),
        get("is_intersections"), get("turn_directions"), get("traffic_controls"), get("lane_actor_index"),
        get("lane_actor_vectors"),
    )  # fmt: skip
    with torch.no_grad():
        local, modes = net.encode(scene)
        close(local, io["mid.local_embed"], 2e-4, "local")
        close(modes, io["mid.global_embed"], 2e-4, "global")
        way, scale, logits = net.decoder(local, modes)
        close(torch.cat([way, scale], -1), io["out.y_hat"], 2e-4, "y_hat")
        close(logits, io["out.pi"], 2e-4, "pi")
        truth = torch.einsum("nti,nij->ntj", get("y"), into_own(scene.angle))
        close(truth, io["mid.y_rotated"], 1e-5, "truth")
        losses = hivt_losses(way, scale, logits, truth, ~hidden[:, 20:])
    assert float(losses["likelihood"]) == pytest.approx(float(io["loss.reg"]), rel=2e-4)
    assert float(losses["loss"]) == pytest.approx(float(io["loss.total"]), rel=2e-4)


@in_the_table
@pytest.mark.parametrize("preset", ["hivt", "qcnet", "social-stgcnn"])
def test_published_networks_learn_and_predict(preset: str) -> None:
    """Untrained, on a synthetic street: a loss that reaches all that takes part; HiVT turns with the scene."""
    config = replace(
        PRESETS[preset], groups=("street",), step_s=0.1, observed_steps=20, future_steps=30, windows=((20, 30),),
        resample=True, scored="all", modes=3, lanes=True,
    )  # fmt: skip
    torch.manual_seed(0)
    net = build(config)
    windows = Windows(config, [Part(traffic(3, seconds=7.0, cars=4, people=1))], True)
    batch = windows.collate([windows[(0, 0)], windows[(0, 1)]])
    parts = loss(net.train(), batch, Step(0, 0, torch.Generator()))
    parts["loss"].backward()
    still = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
    unused = ("prelus.4", "tpcnns.4")
    assert [name for name in still if not name.startswith(unused)] == [] and torch.isfinite(parts["loss"])
    system = Forecast(config, net.eval(), "", lambda *a, **k: None, lambda *a, **k: None)  # type: ignore[arg-type]
    tracks = traffic(5, seconds=4.0, cars=4, people=1)
    first = system.predict(tracks, last=25)
    assert np.isfinite(first.position).all() and first.position.shape[1:] == (3, 30, 2)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])

    def moved(points: np.ndarray) -> np.ndarray:
        return points @ turn.T + [30.0, -20.0]

    lanes = tuple(
        replace(lane, centre=np.c_[moved(lane.centre[:, :2]), lane.centre[:, 2]], left=None, right=None)
        for lane in tracks.map.lanes
    )
    plain = replace(tracks, map=StreetMap(tuple(replace(lane, left=None, right=None) for lane in tracks.map.lanes)))
    other = replace(plain, position=moved(tracks.position), heading=tracks.heading + np.pi / 2, map=StreetMap(lanes))
    if preset != "hivt":
        # Social-STGCNN knows the axes of the scene. QCNet sees bearings as numbers: of who drives straight on, earlier
        # places lie at π or at −π, as the last bit has it.
        return
    a, b = system.predict(plain, last=25), system.predict(other, last=25)
    np.testing.assert_allclose(b.position, moved(a.position), atol=2e-3)
