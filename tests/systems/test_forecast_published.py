"""The published networks of forecasting: held to what the official code computes, and to its checkpoints."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor

import percepta
from percepta.errors import InputError
from percepta.nn.archive import read_archive
from percepta.systems.forecast import PRESETS, keys, stgcnn
from percepta.systems.forecast.model import build


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


@pytest.mark.parametrize("scene", ["eth", "hotel", "univ", "zara1", "zara2"])
def test_published_weights_of_social_stgcnn(golden: Path, scene: str) -> None:
    folder = golden / "published" / "social-stgcnn"
    system = percepta.load("forecast", preset="social-stgcnn", weights=folder / scene / "val_best.pth", device="cpu")
    io = load_file(folder / "io.safetensors")
    check_stgcnn(system.model, io, f"out.{scene}.", 1e-5)
    assert system.model.weights_hash


def test_another_networks_checkpoint_is_refused(golden: Path) -> None:
    folder = golden / "published" / "social-stgcnn" / "eth" / "val_best.pth"
    state = read_archive(folder)
    with pytest.raises(InputError, match="presets social-stgcnn"):
        keys.convert(state, PRESETS["small"])
    with pytest.raises(InputError, match="ours|missing|small"):
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
