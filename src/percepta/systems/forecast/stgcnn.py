"""Social-STGCNN (Mohamed et al., CVPR 2020): walkers as a graph over space and time, a Gaussian for each future step.

Follows the published code (github.com/abduallahmohamed/Social-STGCNN, MIT) and reads its checkpoints strictly; the
attributes are named as their keys are. Three of its properties are kept, as the weights need them: between the graph
part and the time part memory is read in another order of axes (a view, no transpose); `prelus.4` and `tpcnns.4` take no
part; walkers are linked by the distance between their displacements, not between their places.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from percepta.contract import Batch
from percepta.systems.forecast import Config
from percepta.systems.forecast.scene import Output

CHANNELS = 5  # mean x, mean y, log of both deviations, inverse hyperbolic tangent of the correlation
TIME_LAYERS = 5


def graph(displacement: Float[Tensor, "t n 2"]) -> Float[Tensor, "t n n"]:
    """Normalised Laplacian of each step's graph; links are 1 / distance between displacements, 0 between equal ones."""
    gap = torch.cdist(displacement, displacement, compute_mode="donot_use_mm_for_euclid_dist")
    link = torch.where(gap > 0, 1 / gap.clamp_min(1e-30), torch.zeros_like(gap))
    one = torch.eye(gap.shape[1], dtype=gap.dtype, device=gap.device)
    link = link * (1 - one) + one
    degree = link.sum(-1)
    scale = degree.rsqrt()
    laplacian = torch.diag_embed(degree) - link
    return scale[..., None] * laplacian * scale[:, None]


class GraphConvolution(nn.Module):
    """A convolution of one position, then the mean over neighbours."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "b c t n"], a: Float[Tensor, "t n n"]) -> Float[Tensor, "b d t n"]:
        return torch.einsum("nctv,tvw->nctw", self.conv(x), a)


class GraphLayer(nn.Module):
    """Graph convolution and convolution over time (Eq. 8), with a residual path."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.gcn = GraphConvolution(inputs, outputs)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(outputs),
            nn.PReLU(),
            nn.Conv2d(outputs, outputs, (3, 1), padding=(1, 0)),
            nn.BatchNorm2d(outputs),
        )
        self.residual = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        self.prelu = nn.PReLU()

    def forward(self, x: Float[Tensor, "b c t n"], a: Float[Tensor, "t n n"]) -> Float[Tensor, "b d t n"]:
        return self.prelu(self.tcn(self.gcn(x, a)) + self.residual(x))


class SocialSTGCNN(nn.Module):
    """The published network; `predict` samples `config.modes` futures from its Gaussians."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        seen, future = config.observed_steps, config.future_steps
        self.st_gcns = nn.ModuleList([GraphLayer(2, CHANNELS)])
        self.tpcnns = nn.ModuleList(nn.Conv2d(future if i else seen, future, 3, padding=1) for i in range(TIME_LAYERS))
        self.tpcnn_ouput = nn.Conv2d(future, future, 3, padding=1)  # spelled as in the checkpoints
        self.prelus = nn.ModuleList(nn.PReLU() for _ in range(TIME_LAYERS))

    def forward(self, v: Float[Tensor, "1 2 t n"], a: Float[Tensor, "t n n"]) -> Float[Tensor, "1 5 f n"]:
        """Parameters of the Gaussian of every future displacement."""
        for layer in self.st_gcns:
            v = layer(v, a)
        v = v.reshape(v.shape[0], v.shape[2], v.shape[1], v.shape[3])  # not a transpose, see above
        v = self.prelus[0](self.tpcnns[0](v))
        for k in range(1, TIME_LAYERS - 1):
            v = self.prelus[k](self.tpcnns[k](v)) + v
        v = self.tpcnn_ouput(v)
        return v.reshape(v.shape[0], v.shape[2], v.shape[1], v.shape[3])

    def distribution(self, past: Float[Tensor, "n h 2"]) -> Float[Tensor, "f n 5"]:
        """The Gaussians of a scene: mean x, mean y, log deviations, inverse tanh of the correlation of displacements.

        Walkers who were not seen at a step stand still there.
        """
        moved = nn.functional.pad(past[:, 1:] - past[:, :-1], (0, 0, 1, 0)).transpose(0, 1)
        return self(moved.permute(2, 0, 1)[None], graph(moved))[0].permute(1, 2, 0)

    def predict(self, batch: Batch) -> Output:
        """Futures in the agents' own frames. `one` is the mean; the samples have equal probabilities.

        As in the published data, the graph holds the walkers who were seen at all observed steps; any other is alone.
        A published Gaussian knows nothing of the others' samples, so sample k of all agents is as good a joint future
        as any.
        """
        target, scene = batch["target"], batch["scene"]
        way = batch["world"].new_zeros(len(scene), 1 + self.config.modes, self.config.future_steps, 2)
        whole = batch["seen"].all(1)
        for number in range(int(scene.max()) + 1):
            way[(scene == number) & whole] = self.samples(batch["world"][(scene == number) & whole])
        for row in torch.nonzero(~whole)[:, 0].tolist():
            way[row] = self.samples(batch["world"][row : row + 1])[0]
        way = way[target]
        cos, sin = batch["angle"][target].cos(), batch["angle"][target].sin()
        matrix = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
        way = torch.einsum("nij,nktj->nkti", matrix, way)
        logits = way.new_zeros(len(way), self.config.modes)
        return Output(way[:, 0], way[:, 1:], logits, way[:, 1:], logits)

    def samples(self, past: Float[Tensor, "n h 2"]) -> Float[Tensor, "n k t 2"]:
        """The mean, then `config.modes` samples, from the last observed position; draws follow from the positions.

        Args are positions in metres of walkers who were seen at all steps; k is 1 + modes.
        """
        if not len(past):
            return past.new_zeros(0, 1 + self.config.modes, self.config.future_steps, 2)
        mean, factor = moments(self.distribution(past))
        seed = int(past.double().abs().sum() * 1e6)
        generator = torch.Generator(past.device).manual_seed(seed)
        shape = (self.config.modes, *mean.shape)
        draws = torch.randn(shape, generator=generator, device=past.device, dtype=past.dtype)
        step = torch.cat([mean[None], mean + torch.einsum("fnij,kfnj->kfni", factor, draws)])
        return step.cumsum(1).permute(2, 0, 1, 3)


def moments(values: Float[Tensor, "f n 5"]) -> tuple[Float[Tensor, "f n 2"], Float[Tensor, "f n 2 2"]]:
    """(mean, lower triangular factor of the covariance) of Gaussians."""
    x, y, rho = values[..., 2].exp(), values[..., 3].exp(), values[..., 4].tanh()
    zero = torch.zeros_like(x)
    factor = torch.stack([torch.stack([x, zero], -1), torch.stack([rho * y, (1 - rho**2).sqrt() * y], -1)], -2)
    return values[..., :2], factor


def negative_log_likelihood(values: Float[Tensor, "f n 5"], truth: Float[Tensor, "f n 2"]) -> Float[Tensor, ""]:
    """The published loss: the mean of −log of the density at the true displacements; densities are at least 1e-20."""
    away = truth - values[..., :2]
    x, y, rho = values[..., 2].exp(), values[..., 3].exp(), values[..., 4].tanh()
    u, v = away[..., 0] / x, away[..., 1] / y
    rest = 1 - rho**2
    density = torch.exp(-(u**2 + v**2 - 2 * rho * u * v) / (2 * rest)) / (2 * math.pi * x * y * rest.sqrt())
    return -density.clamp_min(1e-20).log().mean()
