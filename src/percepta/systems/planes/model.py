"""The network: features, sweep, 3-D regularisation, pixel planes, refinement, and the detection branch beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from percepta.datasets.nyu40 import PLANEMVS_NAMES
from percepta.errors import InputError
from percepta.nn.efficientnet import EfficientNetLite0
from percepta.systems.planes import Config, sweep
from percepta.systems.planes.head import HeadOutput, PlaneHead, block

LOSSES = (
    "centre", "class", "mask", "dice", "quality", "plane", "plane refined", "depth", "depth refined", "depth instance",
)  # fmt: skip


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions; its stride is in the middle one. Batch norms keep their statistics."""

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
        )  # fmt: skip
        same = stride == 1 and c_in == 4 * width
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(c_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.skip(x))


class ResNet50(nn.Module):
    """He et al. 2016: maps of stride 4, 8, 16 and 32. Input RGB 0..1."""

    channels = (256, 512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        stages, c_in = [], 64
        for width, repeats, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            blocks = [Bottleneck(c_in if i == 0 else 4 * width, width, stride if i == 0 else 1) for i in range(repeats)]
            stages.append(nn.Sequential(*blocks))
            c_in = 4 * width
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        x = self.stem((image - 0.449) / 0.226)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def train(self, mode: bool = True) -> ResNet50:
        """As published: batch norms use their statistics, small batches would spoil them."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class Plain(nn.Module):
    """A few convolutions, for tests: maps of stride 4, 8, 16."""

    channels = (16, 24, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(3, 16, 2), block(16, 16, 2))
        self.down = nn.ModuleList([block(16, 24, 2), block(24, 32, 2)])

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        maps = [self.stem(image - 0.5)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        return maps


class Pyramid(nn.Module):
    """Feature pyramid (Lin et al. 2017) down to a quarter and an eighth of the picture."""

    def __init__(self, channels: tuple[int, ...], width: int, smoothly: bool) -> None:
        super().__init__()
        # Published pyramids repeat places; between two pictures that moves a feature by up to half a place.
        self.mode = "bilinear" if smoothly else "nearest"
        self.side = nn.ModuleList([nn.Conv2d(c, width, 1) for c in channels])
        self.smooth = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(2)])

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps of stride 4, 8, ...; returns those of stride 4 and 8."""
        x, out = None, []
        for level in reversed(range(len(maps))):
            own = self.side[level](maps[level])
            x = own if x is None else own + functional.interpolate(x, own.shape[-2:], mode=self.mode)
            if level < 2:
                out.append(self.smooth[level](x))
        return out[1], out[0]


class Regulariser(nn.Module):
    """3-D U-Net over (hypothesis, row, column), as MVSNet's (Yao et al. 2018) with group norms; to one score each."""

    def __init__(self, c_in: int, width: int, direct: bool) -> None:
        super().__init__()
        self.first = nn.Conv3d(c_in, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(math.gcd(8, width), width)
        self.down1, self.same1 = self._block(width, 2 * width, 2), self._block(2 * width, 2 * width)
        self.down2, self.same2 = self._block(2 * width, 4 * width, 2), self._block(4 * width, 4 * width)
        self.up1 = nn.ConvTranspose3d(4 * width, 2 * width, 3, 2, 1, bias=False)
        self.up2 = nn.ConvTranspose3d(2 * width, width, 3, 2, 1, bias=False)
        self.last = nn.Conv3d(width, 1, 3, padding=1, bias=False)  # a constant would change no softmax
        # Ours: of correlations the mean itself goes into the score, so that matching works from the first step on.
        self.direct = nn.Parameter(torch.tensor(10.0)) if direct else None

    @staticmethod
    def _block(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(c_in, c_out, 3, stride, 1, bias=False),
            nn.GroupNorm(math.gcd(8, c_out), c_out),
            nn.ReLU(inplace=True),
        )

    def entry(self, pieces: list[Tensor]) -> Float[Tensor, "b k m h w"]:
        """The first convolution of a volume that comes in pieces, each with its neighbours' edges (see `stream`)."""
        return torch.cat([functional.conv3d(x, self.first.weight, padding=(0, 1, 1)) for x in pieces], 2)

    def rest(self, x: Float[Tensor, "b k n h w"]) -> Float[Tensor, "b n h w"]:
        """Everything after the first convolution."""
        x0 = functional.relu(self.norm(x))
        x1 = self.same1(self.down1(x0))
        x2 = self.same2(self.down2(x1))
        x1 = functional.relu(x1 + self.up1(x2, output_size=list(x1.shape[2:])))
        x0 = functional.relu(x0 + self.up2(x1, output_size=list(x0.shape[2:])))
        return self.last(x0)[:, 0]

    def forward(self, volume: Float[Tensor, "b c n h w"]) -> Float[Tensor, "b n h w"]:
        """Scores of a whole volume."""
        score = self.rest(self.first(volume))
        return score if self.direct is None else score + self.direct * volume.mean(1)

    def stream(self, pieces: Iterator[Tensor]) -> Float[Tensor, "b n h w"]:
        """The same of a volume that is made piece by piece: no more than two pieces are ever there.

        A 3 × 3 × 3 convolution needs one slice of the pieces before and after: what a piece lacks is kept or awaited.
        """
        out: list[Tensor] = []
        means: list[Tensor] = []
        held: Tensor | None = None
        for piece in pieces:
            if self.direct is not None:
                means.append(piece.mean(1))
            if held is None:
                held = functional.pad(piece, (0, 0, 0, 0, 1, 0))
                continue
            out.append(self.entry([torch.cat([held, piece[:, :, :1]], 2)]))
            held = torch.cat([held[:, :, -1:], piece], 2)
        if held is None:
            raise InputError("a volume without hypotheses")
        out.append(self.entry([functional.pad(held, (0, 0, 0, 0, 0, 1))]))
        score = self.rest(torch.cat(out, 2))
        return score if self.direct is None else score + self.direct * torch.cat(means, 1)


def _zero_layer(width: int) -> nn.Conv2d:
    """The last layer of a correction of planes, 0 at first: training starts from what was matched."""
    layer = nn.Conv2d(width, 3, 3, padding=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer


class Context(nn.Module):
    """Corrects matched planes by what the reference picture shows: a 2-D U-Net at an eighth of it; ours.

    Where there is nothing to match (blank walls, what the source does not see) only the picture tells; how far it is to
    be trusted depends on the scores and on the parallax. The last layer starts at 0.
    """

    def __init__(self, channels: int, hypotheses: int, width: int) -> None:
        super().__init__()
        middle, wide = width + width // 2, 2 * width
        self.scores = nn.Conv2d(hypotheses, width // 2, 1)
        self.first = block(channels + width // 2 + 5, width)
        self.down1 = nn.Sequential(block(width, middle, 2), block(middle, middle))
        self.down2 = nn.Sequential(block(middle, wide, 2), block(wide, wide))
        self.up1 = block(wide + middle, middle)
        self.up2 = nn.Sequential(block(middle + width, width), block(width, width))
        self.last = _zero_layer(width)

    def forward(
        self,
        plane: Float[Tensor, "b 3 h w"],
        confidence: Float[Tensor, "b 1 h w"],
        score: Float[Tensor, "b n h w"],
        s8: Float[Tensor, "b c h w"],
        parallax: Float[Tensor, "b 1 h w"],
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b k h w"]]:
        """The corrected planes, and features of the reference picture that know of the matching.

        Args:
            plane: pixel planes from the volume.
            confidence: of these, 0..1.
            score: of every hypothesis.
            s8: features of the reference picture.
            parallax: how far a pixel moves between the pictures.
        """
        scores = functional.relu(self.scores(0.1 * (score - score.amax(1, keepdim=True))))
        x0 = self.first(torch.cat([s8, scores, plane, confidence, 0.1 * parallax], 1))
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x1 = self.up1(torch.cat([self._larger(x2, x1), x1], 1))
        x0 = self.up2(torch.cat([self._larger(x1, x0), x0], 1))
        return plane + self.last(x0), x0

    @staticmethod
    def _larger(x: Tensor, like: Tensor) -> Tensor:
        return functional.interpolate(x, like.shape[-2:], mode="bilinear")


class Polish(nn.Module):
    """Corrects planes at a quarter of the picture by the costs just before and behind them; the last layer starts at 0.

    What RAFT does for flow (Teed & Deng 2020), without its recurrent state: a few steps that share their weights.
    """

    AROUND = (-8, -5, -3, -2, -1, 0, 1, 2, 3, 5, 8)  # levels

    def __init__(self, groups: int, channels: int, width: int = 48) -> None:
        super().__init__()
        self.look = nn.Conv2d(groups * len(self.AROUND) + channels + 4, width, 1)
        self.body = nn.Sequential(block(width, width), block(width, width), _zero_layer(width))

    def forward(
        self,
        plane: Float[Tensor, "b 3 h w"],
        volume: Float[Tensor, "b k d h w"],
        features: Float[Tensor, "b c h w"],
        sight: Float[Tensor, "b 3 h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Corrected planes.

        Args:
            plane: pixel planes at a quarter of the picture.
            volume: costs at `sweep.facing` planes.
            features: of the reference picture.
            sight: its rays, K⁻¹(u, v, 1).
        """
        known = plane.detach()
        inverse = -(known * sight).sum(1, keepdim=True)
        step = 1 / (sweep.CLOSEST_M * (volume.shape[2] - 1))
        around = inverse + step * inverse.new_tensor(self.AROUND)[:, None, None]
        costs = sweep.read(volume, around).flatten(1, 2)
        return plane + self.body(functional.relu(self.look(torch.cat([costs, features, known, inverse], 1))))


class Output(NamedTuple):
    """What the network gives for a batch of reference pictures.

    Attributes:
        plane: pixel planes p = n/d before refinement, 1/m.
        refined: pixel planes after it.
        depth: of `plane`, metres.
        depth_refined: of `refined`.
        confidence: highest probability of a hypothesis.
        head: what the detection branch says.
    """

    plane: Float[Tensor, "b 3 h w"]
    refined: Float[Tensor, "b 3 h w"]
    depth: Float[Tensor, "b h w"]
    depth_refined: Float[Tensor, "b h w"]
    confidence: Float[Tensor, "b 1 h8 w8"]
    head: HeadOutput


class PlaneNet(nn.Module):
    """Both branches; `uncertainty` holds the ten learnt weights of the losses."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, kept = config.pyramid_channels, config.match_channels
        if config.encoder == "lite0":
            self.image = EfficientNetLite0(classifier=False)
            self.image.freeze(config.frozen_blocks)
            self.image.head.requires_grad_(False)  # nothing reads it
            channels: tuple[int, ...] = (24, 40, 112, 320)
        else:
            self.trunk = ResNet50() if config.encoder == "resnet50" else Plain()
            channels = self.trunk.channels
        concat = config.cost == "concat"
        self.pyramid = Pyramid(channels, width, smoothly=not concat)
        self.match = nn.Conv2d(width, kept, 1)
        self.volume = Regulariser(2 * kept if concat else config.cost_groups, config.volume_channels, direct=not concat)
        planes = sweep.hypotheses(config.hypothesis_counts, config.hypothesis_ranges, config.sweep == "fronto")
        self.context = Context(width, len(planes), config.context_channels) if config.context_channels else None
        self.polish = Polish(config.cost_groups, width + config.context_channels) if config.polish_steps else None
        self.enlarged = 4 if config.polish_steps else 8
        own = width + config.context_channels if config.polish_steps else config.context_channels or kept
        self.shares = nn.Sequential(
            nn.Conv2d(own, 32, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(32, 9 * self.enlarged**2, 1)
        )
        r = config.refine_channels
        self.refine = nn.Sequential(block(6, r), block(r, r), block(r, r), nn.Conv2d(r, 3, 3, padding=1))
        nn.init.normal_(self.refine[3].weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.refine[3].bias)  # type: ignore[arg-type]
        self.head = PlaneHead(width, config.context_channels or width, config.head_channels, len(PLANEMVS_NAMES))
        self.uncertainty = nn.Parameter(torch.full((len(LOSSES),), -1.0))
        self.register_buffer("planes", planes, persistent=False)

    def features(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor]:
        """The pyramid at a quarter and an eighth of RGB pictures in 0..1."""
        return self.pyramid(list(self.image(image))[:4] if self.config.encoder == "lite0" else self.trunk(image))

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        sources: Float[Tensor, "b v 3 h w"],
        matrix: Float[Tensor, "b 3 3"],
        source_matrices: Float[Tensor, "b v 3 3"],
        source_from_reference: Float[Tensor, "b v 4 4"],
    ) -> Output:
        """Planes of reference pictures, each with v source pictures.

        Args:
            image: reference pictures, RGB 0..1.
            sources: source pictures, RGB 0..1.
            matrix: K of the reference pictures, at their size.
            source_matrices: K of the source pictures.
            source_from_reference: relative poses, metres.
        """
        config = self.config
        (b, v), (h, w) = sources.shape[:2], image.shape[-2:]
        s4, s8 = self.features(torch.cat([image, sources.flatten(0, 1)]))
        kept = self.match_features(s4, s8)
        own, others = kept[:b], kept[b:].unflatten(0, (b, v))
        s4, s8 = s4[:b], s8[:b]
        by = own.shape[-1] / w
        small = sweep.scaled(matrix, by)
        ways = [
            sweep.carrier(small, sweep.scaled(source_matrices[:, i], by), source_from_reference[:, i], *own.shape[-2:])
            for i in range(v)
        ]
        volume, scores = self._compared(own, list(others.unbind(1)), ways, matrix, by)
        plane, confidence = sweep.soft_argmin(scores, self._planes)
        if self.context is not None:
            moved = torch.stack([sweep.parallax(way) for way in ways]).mean(0)
            moved = functional.adaptive_avg_pool2d(moved, (s8.shape[-2], s8.shape[-1]))
            plane, s8 = self.context(plane, confidence, scores, s8, moved)
        if self.polish is not None and volume is not None:
            plane = functional.interpolate(plane, s4.shape[-2:], mode="bilinear")
            features = s4
            if self.context is not None:
                features = torch.cat([s4, functional.interpolate(s8, s4.shape[-2:], mode="bilinear")], 1)
            for _ in range(config.polish_steps):
                plane = self.polish(plane, volume, features, ways[0].rays)
        elif self.context is not None:
            features = s8
        else:
            features = functional.adaptive_avg_pool2d(own, (plane.shape[-2], plane.shape[-1]))
        fine = sweep.convex_upsample(plane, 0.25 * self.shares(features), self.enlarged)
        refined = fine + self.refine(torch.cat([image, fine], 1))
        sight = sweep.rays(matrix, h, w)
        first, second = (sweep.depth_of(p, sight, config.min_depth_m, config.max_depth_m) for p in (fine, refined))
        return Output(fine, refined, first, second, confidence, self.head(s4, s8, refined))

    @property
    def _planes(self) -> Tensor:
        return self.get_buffer("planes")

    def match_features(self, s4: Tensor, s8: Tensor) -> Tensor:
        """The channels that are compared; for correlation of one length in each group, so that products are cosines."""
        fine = self.config.match_stride == 4
        if self.config.cost == "concat":
            kept = self.match(s4)
            return kept if fine else functional.avg_pool2d(kept, 2)  # as published: P2, averaged
        grouped = self.match(s4 if fine else s8).unflatten(1, (self.config.cost_groups, -1))
        return (grouped * torch.rsqrt((grouped * grouped).mean(2, True) + 1e-4)).flatten(1, 2)

    def _compared(
        self, own: Tensor, others: list[Tensor], ways: list[sweep.Carrier], matrix: Tensor, by: float
    ) -> tuple[Tensor | None, Tensor]:
        """Costs at planes that face the camera, if there are `levels`, and the score of every hypothesis."""
        config, visible = self.config, self.config.source_average == "visible"
        groups = None if config.cost == "concat" else config.cost_groups
        if config.depth_levels:
            planes = sweep.facing(config.depth_levels, own)
            volume = torch.cat(list(sweep.costs(own, others, ways, planes, config.chunk_size, groups, visible)), 2)
            sight = sweep.rays(sweep.scaled(matrix, by / 2), own.shape[-2] // 2, own.shape[-1] // 2)
            return volume, self.volume(sweep.hypothesis_costs(volume, self._planes, sight))
        pooled = 2 if config.match_stride == 4 else 1
        pieces = sweep.costs(own, others, ways, self._planes, config.chunk_size, groups, visible, pooled)
        train = torch.is_grad_enabled()
        return None, self.volume(torch.cat(list(pieces), 2)) if train else self.volume.stream(pieces)


def build(config: Config) -> PlaneNet:
    """The network with random weights; `load` and `train` fill Lite0, which PRETRAINED names."""
    return PlaneNet(config)


def run(model: PlaneNet, batch: dict[str, Any]) -> Output:
    """The network on a batch of `data.Samples`, or of `predict.prepare`."""
    names = ("image", "sources", "matrix", "source_matrices", "source_from_reference")
    return model(*(batch[name] for name in names))
