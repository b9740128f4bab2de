"""The baked form: a coloured mesh with a skin and a few morphs, which needs no network.

The density of the fields is sampled in the rest pose, with the nodes where the trained frames have them on average; its
surface becomes a mesh, and its vertices get the colours that the fields have there. A vertex is skinned by the joints
of the nodes around it. How the nodes move beyond skinning is written as the mean and a few principal components over
the trained frames, and the strengths of these components follow from the pose and its past by one linear map (ridge
regression). So new poses work without the network; what they lose is the change of colours (`details`), and what of the
translations no linear map can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from percepta.errors import InputError
from percepta.geometry.body import Body, Motion, Shape, make_body, skin
from percepta.geometry.camera import Intrinsics
from percepta.geometry.meshes import render_colours, surface
from percepta.systems.avatar import BodyConfig, Config
from percepta.systems.avatar.field import inside_any, near_nodes
from percepta.systems.avatar.latent import State, conditions
from percepta.systems.avatar.model import AvatarNetwork, Nodes

_RIDGE = 3.0


@dataclass(frozen=True)
class Baked:
    """A person as a mesh.

    Attributes:
        vertices: in the rest pose, metres, `v 3`. faces: `f 3`. colours: RGB 0..1, `v 3`.
        weights: of the joints, `v 19`.
        morphs: what the components of the cloth's motion add to the vertices, metres, `k v 3`.
        middle, map: strengths of the morphs = (condition - middle) @ map; `c` and `c k`.
        limit: largest strength of each morph in the trained frames, `k`.
        body: measures of the template. past_frames: see `Config`; empty where the past is not seen. fps: of the
            capture.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    colours: Float32[np.ndarray, "v 3"]
    weights: Float32[np.ndarray, "v j"]
    morphs: Float32[np.ndarray, "k v 3"]
    middle: Float32[np.ndarray, " c"]
    map: Float32[np.ndarray, "c k"]
    limit: Float32[np.ndarray, " k"]
    body: BodyConfig
    past_frames: tuple[int, ...]
    fps: float

    @cached_property
    def template(self) -> Body:
        """The body that carries the mesh."""
        b = self.body
        return make_body(Shape(b.height_m, b.girth, b.legs, b.arms, b.shoulders))

    def strengths(self, motion: Motion) -> Float[np.ndarray, "t k"]:
        """Of the morphs in each frame of a motion, at most as large as in the trained frames."""
        config = Config(past=bool(self.past_frames), past_frames=self.past_frames or (1,), fps=self.fps)
        strength = (conditions(config, motion) - self.middle) @ self.map
        return strength.clip(-self.limit, self.limit)

    def posed(self, motion: Motion) -> Float[np.ndarray, "t v 3"]:
        """The mesh in each frame of a motion."""
        transforms = self.template.transforms(motion)
        strength = self.strengths(motion)
        return np.concatenate([
            skin(self.vertices + np.tensordot(strength[frame], self.morphs, 1), self.weights,
            transforms[frame : frame + 1])
            for frame in range(len(motion))
        ])  # fmt: skip

    def render(
        self,
        vertices: Float[np.ndarray, "v 3"],
        camera: Intrinsics,
        world_from_camera: Float[np.ndarray, "4 4"],
        samples: int = 2,
    ) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
        """Colour on black and coverage of one frame.

        Args:
            vertices: of that frame, see `posed`.
            camera: intrinsics.
            world_from_camera: the camera's pose.
            samples: rays across and down each pixel.
        """
        return render_colours(vertices, self.faces, self.colours, camera, world_from_camera, samples=samples)

    def save(self, path: Path | str) -> Path:
        """As an .npz without pickles."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        b = self.body
        np.savez_compressed(
            path, vertices=self.vertices, faces=self.faces.astype(np.int32),
            colours=np.round(255 * self.colours).astype(np.uint8),
            weights=self.weights.astype(np.float16), morphs=self.morphs.astype(np.float16), middle=self.middle,
            map=self.map,
            limit=self.limit, body=np.array([b.height_m, b.girth, b.legs, b.arms, b.shoulders]),
            past_frames=np.array(self.past_frames, int), fps=self.fps,
        )  # fmt: skip
        return path


def read(path: Path | str) -> Baked:
    """A baked person from an .npz.

    Raises:
        InputError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as t:
            weights = t["weights"].astype(np.float32)
            return Baked(
                t["vertices"].astype(np.float32), t["faces"].astype(np.int64), t["colours"].astype(np.float32) / 255,
                weights / weights.sum(1, keepdims=True), t["morphs"].astype(np.float32), t["middle"], t["map"],
                t["limit"],
                BodyConfig(*(float(x) for x in t["body"])), tuple(int(x) for x in t["past_frames"]), float(t["fps"]),
            )  # fmt: skip
    except (OSError, KeyError, ValueError) as reason:
        raise InputError(f"{path}: no baked person ({reason}); `percepta avatar bake RUN` writes one") from None


@torch.inference_mode()
def bake(
    model: AvatarNetwork, motion: Motion, *, voxel_m: float | int = 0.014, morphs: int = 12, level: float | int = 25.0
) -> Baked:
    """Bakes a trained avatar.

    Args:
        model: in eval mode.
        motion: of the capture: the frames over which means and components are taken.
        voxel_m: distance of the points at which the density is sampled, metres.
        morphs: at most so many components.
        level: density of the surface, 1/m.

    Raises:
        InputError: nothing is denser than `level`: the avatar has not been trained.
    """
    config, weight = model.config, model.node
    known = conditions(config, motion)
    state = model.latent(torch.from_numpy(known).to(weight), None)
    mean, detail = state.translation.mean(0), state.detail.mean(0)
    centre = model.node + mean
    still = State(mean[None], detail[None], weight.new_zeros(1))
    nodes = Nodes(centre[None], torch.eye(3).to(weight).expand(1, len(centre), 3, 3), still)
    low = centre.min(0).values.cpu().numpy() - model.radius
    high = centre.max(0).values.cpu().numpy() + model.radius
    size = np.ceil((high - low) / voxel_m).astype(int) + 1
    axes = [low[i] + voxel_m * np.arange(size[i]) for i in range(3)]
    values = np.zeros(tuple(size), np.float32)
    for x in range(size[0]):
        plane = np.stack(np.meshgrid([axes[0][x]], axes[1], axes[2], indexing="ij"), -1).reshape(-1, 3)
        values[x] = _ask(model, nodes, plane)[0].reshape(size[1], size[2])
    if not (values > level).any():
        raise InputError(f"nothing of this avatar is denser than {level} 1/m: train it first")
    vertices, faces = surface(values.astype(np.float64), level, low, voxel_m)
    # the colour that a ray sees lies a little below the surface
    step = np.stack(np.gradient(values.astype(np.float64)), -1)
    cell = np.clip(np.round((vertices - low) / voxel_m).astype(int), 0, size - 1)
    inwards = step[cell[:, 0], cell[:, 1], cell[:, 2]]
    inwards /= np.maximum(np.linalg.norm(inwards, axis=-1, keepdims=True), 1e-9)
    colours = _ask(model, nodes, vertices + 0.4 * voxel_m * inwards)[1]
    points = torch.from_numpy(vertices).to(weight)
    near, share = _shares(model, centre, points)
    skinning = (share[..., None] * model.node_weights[near]).sum(1)
    strengths, components = _components((state.translation - mean).flatten(1).cpu().numpy().astype(np.float64), morphs)
    count = len(components)
    by_node = torch.from_numpy(components.reshape(count, -1, 3)).to(weight)
    moved = (
        torch.stack([(share[..., None] * component[near]).sum(1) for component in by_node])
        if count
        else points.new_zeros(0, *points.shape)
    )
    middle = known.mean(0)
    centred = (known - middle).astype(np.float64)
    gram = centred.T @ centred + _RIDGE * np.eye(centred.shape[1])
    linear = np.linalg.solve(gram, centred.T @ strengths)
    return Baked(
        vertices.astype(np.float32), faces, colours, skinning.cpu().numpy().astype(np.float32),
        moved.cpu().numpy().astype(np.float32), middle.astype(np.float32), linear.astype(np.float32),
        np.abs(strengths).max(0, initial=0).astype(np.float32), config.body,
        config.past_frames if config.past else (), config.fps,
    )  # fmt: skip


def _ask(model: AvatarNetwork, nodes: Nodes, points: np.ndarray) -> tuple[np.ndarray, Float32[np.ndarray, "n 3"]]:
    """Density and colour at points; viewed from the front where the view counts."""
    x = torch.from_numpy(np.ascontiguousarray(points)).to(model.node)
    look = torch.tensor([-1.0, 0.0, 0.0]).to(x).expand_as(x)
    density, colour = model.query(nodes, 0, x, look)
    return density.cpu().numpy(), colour.cpu().numpy().astype(np.float32)


def _shares(model: AvatarNetwork, centre: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nodes around each point and their normalised weights."""
    config = model.config
    index, square = inside_any(points, centre, model.radius)
    near, weight = near_nodes(points[index], centre, square, config.sigma_m, config.floor, config.near_nodes)
    place = torch.zeros(len(points), near.shape[1], dtype=torch.int64, device=points.device)
    share = points.new_zeros(len(points), near.shape[1])
    place[index], share[index] = near, weight
    alone = share.sum(1) <= 0
    share[alone, 0] = 1
    return place, share / share.sum(1, keepdim=True)


def _components(rows: Float[np.ndarray, "t d"], most: int) -> tuple[Float[np.ndarray, "t k"], Float[np.ndarray, "k d"]]:
    """Strengths and principal components that explain all but a thousandth of the variance."""
    u, s, v = np.linalg.svd(rows, full_matrices=False)
    if s.size == 0 or s[0] < 1e-6:
        return np.zeros((len(rows), 0)), np.zeros((0, rows.shape[1]))
    explained = np.cumsum(s**2) / (s**2).sum()
    count = min(int(np.searchsorted(explained, 0.999)) + 1, most, len(s))
    return u[:, :count] * s[:count], v[:count]
