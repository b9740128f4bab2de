"""The baked form: a coloured mesh with a skin and a few morphs, which needs no network.

A place of the rest pose is carried by the nodes around it that move with the nearest place of the body. Its density is
the geometric mean of what the network has there in some frames of the capture: in the rest pose itself, which nobody
trained, fields of both legs lie in each other. The surface of that density becomes a mesh. Its vertices do not lie on
the surface that the fields have in a frame, since fields are blended and not places. So the mesh is laid onto it in
frames of the capture: each vertex moves along its normal to where the density crosses the level, and takes the
colour there. Brought back into the rest pose, these places and colours are written as their mean and a few principal
components, whose strengths follow from the pose and its past by one linear map (ridge regression). So new poses work
without the network; what they lose is what no linear map can say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from percepta.errors import InputError
from percepta.files import writing
from percepta.geometry.body import Body, Motion, Shape, make_body, skin, vertex_normals
from percepta.geometry.camera import Intrinsics
from percepta.geometry.meshes import render_colours, surface
from percepta.systems.avatar import BodyConfig, Config
from percepta.systems.avatar.field import inside_any, near_nodes
from percepta.systems.avatar.latent import State, conditions
from percepta.systems.avatar.model import AvatarNetwork, Nodes, template

_RIDGE = 3.0
_REACH_M, _STEPS, _SMOOTHINGS = 0.05, 9, 4  # how far a vertex looks for the surface, at how many places
_BELOW_M = 0.006  # the colour that a ray sees lies a little below the surface
_FARTHEST_M = 0.4  # from the rest pose: as far as a node may move
_OFFSET_M, _SHADE = 0.03, 0.15  # one unit of the components, so that places and colours weigh alike
_SURFACE_FRAMES, _LEAST = 12, 0.01  # whose density is the rest pose's, and the least that counts there, 1/m
_SKIN_SMOOTHINGS = 8
_CHUNK = 16384  # points that are asked together


@dataclass(frozen=True)
class Baked:
    """A person as a mesh.

    Attributes:
        vertices: in the rest pose, metres, `v 3`. faces: `f 3`. colours: RGB 0..1, `v 3`.
        weights: of the joints, `v 19`.
        morphs: what the components of the cloth's motion add to the vertices, metres, `k v 3`.
        shades: what the same components add to the colours, `k v 3`.
        middle, map: strengths of the components = (condition - middle) @ map; `c` and `c k`.
        limit: largest strength of each component in the trained frames, `k`.
        body: measures of the template. past_frames: see `Config`; empty where the past is not seen. fps: of the
            capture.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    colours: Float32[np.ndarray, "v 3"]
    weights: Float32[np.ndarray, "v j"]
    morphs: Float32[np.ndarray, "k v 3"]
    shades: Float32[np.ndarray, "k v 3"]
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
        """Of the components in each frame of a motion, at most as large as in the trained frames."""
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

    def coloured(self, motion: Motion) -> Float32[np.ndarray, "t v 3"]:
        """Colours of the vertices in each frame of a motion, RGB 0..1."""
        change = np.tensordot(self.strengths(motion), self.shades, 1)
        return (self.colours + change).clip(0, 1).astype(np.float32)

    def render(
        self,
        vertices: Float[np.ndarray, "v 3"],
        colours: Float[np.ndarray, "v 3"],
        camera: Intrinsics,
        world_from_camera: Float[np.ndarray, "4 4"],
        samples: int = 2,
    ) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
        """Colour on black and coverage of one frame.

        Args:
            vertices: of that frame, see `posed`.
            colours: of them, see `coloured`.
            camera: intrinsics.
            world_from_camera: the camera's pose.
            samples: rays across and down each pixel.
        """
        return render_colours(vertices, self.faces, colours, camera, world_from_camera, samples=samples)

    def save(self, path: Path | str) -> Path:
        """As an .npz without pickles, written whole or not at all."""
        b = self.body
        with writing(path) as file:
            np.savez_compressed(
                file, vertices=self.vertices, faces=self.faces.astype(np.int32),
                colours=np.round(255 * self.colours).astype(np.uint8),
                weights=self.weights.astype(np.float16), morphs=self.morphs.astype(np.float16),
                shades=self.shades.astype(np.float16), middle=self.middle, map=self.map,
                limit=self.limit, body=np.array([b.height_m, b.girth, b.legs, b.arms, b.shoulders]),
                past_frames=np.array(self.past_frames, int), fps=self.fps,
            )  # fmt: skip
        return Path(path)


def is_one(path: Path) -> bool:
    """Whether a file is a baked person, or what is left of one: it has a mesh and morphs."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return {"faces.npy", "weights.npy", "morphs.npy"} <= set(archive.namelist())


def read(path: Path | str) -> Baked:
    """A baked person from an .npz.

    Raises:
        InputError: it is none.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as t:
            weights = t["weights"].astype(np.float32)
            morphs = t["morphs"].astype(np.float32)
            # files of percepta 0.1 before 2026-11-29 have no shades: their colours stay
            shades = t["shades"].astype(np.float32) if "shades" in t else np.zeros_like(morphs)
            return Baked(
                t["vertices"].astype(np.float32), t["faces"].astype(np.int64), t["colours"].astype(np.float32) / 255,
                weights / weights.sum(1, keepdims=True), morphs, shades, t["middle"], t["map"], t["limit"],
                BodyConfig(*(float(x) for x in t["body"])), tuple(int(x) for x in t["past_frames"]), float(t["fps"]),
            )  # fmt: skip
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as reason:
        raise InputError(f"{path}: no baked person ({reason}); `percepta avatar bake RUN` writes one") from None


@torch.inference_mode()
def bake(
    model: AvatarNetwork,
    motion: Motion,
    *,
    voxel_m: float | int = 0.016,
    morphs: int = 24,
    level: float | int = 8.0,
    frames: int = 60,
    progress: Callable[[int, int], None] | None = None,
) -> Baked:
    """Bakes a trained avatar.

    Args:
        model: in eval mode.
        motion: of the capture: the frames over which means and components are taken.
        voxel_m: distance of the points at which the density is sampled, metres.
        morphs: at most so many components.
        level: density of the surface, 1/m. A low one takes in more of the soft border of cloth and hair.
        frames: onto so many frames of the motion, evenly spread, the mesh is laid.
        progress: told how many of them are done, and of how many.

    Raises:
        InputError: nothing is denser than `level`: the avatar has not been trained; or a number is out of its range.
    """
    if frames < 1 or morphs < 0:
        raise InputError(f"frames is 1 or more and morphs 0 or more, got {frames} and {morphs}")
    if not 0.002 <= voxel_m <= 1 or not 0 < level < np.inf:
        raise InputError(f"voxel_m is 0.002 to 1 (metres) and level above 0 (1/m), got {voxel_m} and {level}")
    if not len(motion):
        raise InputError("the motion has no frames")
    config, weight = model.config, model.node
    chosen = np.unique(np.linspace(0, len(motion) - 1, min(frames, len(motion))).round().astype(int))
    known = conditions(config, motion)
    transforms = template(config).transforms(motion)
    joints, condition = (torch.from_numpy(x[chosen]).to(weight) for x in (transforms, known))
    every = model.nodes(joints, condition)
    nodes = [Nodes(every.centre[i : i + 1], every.back[i : i + 1], _part(every.state, i)) for i in range(len(chosen))]
    mean = every.state.translation.mean(0)
    moves = every.state.translation - mean
    centre = model.node + mean
    some = np.unique(np.linspace(0, len(chosen) - 1, min(_SURFACE_FRAMES, len(chosen))).round().astype(int))

    def solid(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """Geometric mean of the density that points of the rest pose have where the frames carry them."""
        carried = _bound(model, centre, points)
        total = np.zeros(len(points))
        for i in some:
            place = carried.moved(points, moves[i], transforms[chosen[i]])
            total += np.log(np.maximum(_ask(model, nodes[i], place)[0], _LEAST))
        return np.exp(total / len(some))

    vertices, faces = _surface(centre.cpu().numpy(), model.radius, voxel_m, level, solid)
    neighbours = _neighbours(faces, len(vertices))
    carried = _bound(model, centre, vertices, neighbours)
    skinning = carried.skinning
    places, colours = [], []
    for done, frame in enumerate(chosen):
        begin = carried.moved(vertices, moves[done], transforms[frame])
        place, colour = _laid(model, nodes[done], begin, faces, neighbours, level)
        matrix = np.einsum("vj,jxy->vxy", skinning, transforms[frame])
        back = np.linalg.solve(matrix[:, :3, :3], (place - matrix[:, :3, 3])[..., None])[..., 0] - vertices
        back *= np.minimum(1, _FARTHEST_M / np.maximum(np.linalg.norm(back, axis=-1, keepdims=True), 1e-9))
        places.append(back.astype(np.float32))
        colours.append(colour)
        if progress is not None:
            progress(done + 1, len(chosen))
    offset, shade = np.mean(places, 0), np.mean(colours, 0)
    rows = np.concatenate(
        [
            (np.stack(places) - offset).reshape(len(chosen), -1) / _OFFSET_M,
            (np.stack(colours) - shade).reshape(len(chosen), -1) / _SHADE,
        ],
        axis=1,
    )
    strengths, components = _components(rows, morphs)
    half = components.reshape(len(components), 2, len(vertices), 3)
    conditioned = known[chosen]
    middle = conditioned.mean(0)
    centred = (conditioned - middle).astype(np.float64)
    gram = centred.T @ centred + _RIDGE * np.eye(centred.shape[1])
    linear = np.linalg.solve(gram, centred.T @ strengths)
    return Baked(
        (vertices + offset).astype(np.float32), faces, shade.astype(np.float32), skinning.astype(np.float32),
        (_OFFSET_M * half[:, 0]).astype(np.float32), (_SHADE * half[:, 1]).astype(np.float32),
        middle.astype(np.float32), linear.astype(np.float32), np.abs(strengths).max(0, initial=0).astype(np.float32),
        config.body, config.past_frames if config.past else (), config.fps,
    )  # fmt: skip


@dataclass(frozen=True)
class _Bound:
    """Points of the rest pose, bound to nodes and joints.

    Attributes:
        near: nodes around each point. share: their normalised weights.
        skinning: of the joints.
    """

    near: Int64[torch.Tensor, "n k"]
    share: Float[torch.Tensor, "n k"]
    skinning: Float64[np.ndarray, "n j"]

    def moved(
        self, points: Float[np.ndarray, "n 3"], moves: Float[torch.Tensor, "m 3"], transform: Float[np.ndarray, "j 4 4"]
    ) -> Float[np.ndarray, "n 3"]:
        """Where the points are in a frame.

        Args:
            points: in the rest pose, metres.
            moves: of the nodes, away from where they are on average, metres.
            transform: of the joints.
        """
        shift = (self.share[..., None] * moves[self.near]).sum(1).cpu().numpy()
        return skin(points + shift, self.skinning, transform[None])[0]


def _bound(
    model: AvatarNetwork,
    centre: Float[torch.Tensor, "m 3"],
    points: Float[np.ndarray, "n 3"],
    neighbours: csr_array | None = None,
) -> _Bound:
    """What carries points of the rest pose: the nodes around them that move with the nearest place of the body.

    In the rest pose the feet stand a hand's breadth apart, and so nodes of both would carry each shoe; in other poses
    the network never blends these. A node counts as much as its joints are those of the body nearest to the point.

    Args:
        model: for its nodes.
        centre: of the nodes, on average.
        points: in the rest pose, metres.
        neighbours: of a mesh, over which the weights are smoothed, so that cloth between the legs is not cut in two;
            None: they stay as they are.
    """
    body = template(model.config)
    near, share = _shares(model, centre, torch.from_numpy(points).to(centre))
    nearest = torch.from_numpy(body.weights[KDTree(body.vertices).query(points)[1]]).to(share)
    share = share * ((model.node_weights[near] * nearest[:, None]).sum(-1) + 1e-6)
    share = share / share.sum(1, keepdim=True)
    skinning = (share[..., None] * model.node_weights[near]).sum(1).cpu().numpy().astype(np.float64)
    if neighbours is not None:
        for _ in range(_SKIN_SMOOTHINGS):
            skinning = 0.5 * skinning + 0.5 * (neighbours @ skinning)
    return _Bound(near, share, skinning)


def _part(state: State, frame: int) -> State:
    """What was decoded for one of the frames."""
    only = slice(frame, frame + 1)
    return State(state.translation[only], state.detail[only], state.divergence[only])


def _surface(
    centre: Float[np.ndarray, "m 3"],
    radius: float,
    voxel_m: float,
    level: float,
    density: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]],
) -> tuple[Float[np.ndarray, "v 3"], Int64[np.ndarray, "f 3"]]:
    """The mesh on which a density is `level`.

    Args:
        centre: of the nodes. radius: of their spheres, outside of which there is nothing; metres.
        voxel_m: distance of the points that are asked, metres.
        level: in 1/m.
        density: of points, 1/m.
    """
    low, high = centre.min(0) - radius, centre.max(0) + radius
    size = np.ceil((high - low) / voxel_m).astype(int) + 1
    axes = [low[i] + voxel_m * np.arange(size[i]) for i in range(3)]
    values = np.zeros(tuple(size), np.float32)
    near = KDTree(centre)
    for x in range(size[0]):
        plane = np.stack(np.meshgrid([axes[0][x]], axes[1], axes[2], indexing="ij"), -1).reshape(-1, 3)
        inside = near.query(plane, distance_upper_bound=radius)[0] < radius
        if inside.any():
            values[x].reshape(-1)[inside] = density(plane[inside])
    if not (values > level).any():
        raise InputError(f"nothing of this avatar is denser than {level} 1/m: train it first")
    return surface(values.astype(np.float64), level, low, voxel_m)


def _laid(
    model: AvatarNetwork,
    nodes: Nodes,
    places: Float[np.ndarray, "v 3"],
    faces: Int64[np.ndarray, "f 3"],
    neighbours: csr_array,
    level: float,
) -> tuple[Float[np.ndarray, "v 3"], Float32[np.ndarray, "v 3"]]:
    """The vertices on the surface of one frame, and the colours that a ray sees there.

    Each moves along its normal to the nearest place where the density rises above the level on the way inwards, in two
    rounds of which the second looks half as far. Where there is none, it goes out as far as it may if all is inside,
    and in if all is outside. Ways are smoothed over the mesh, so that neighbours stay neighbours.

    Args:
        model, nodes: of the frame.
        places: where the vertices begin, in the world. faces: of the mesh.
        neighbours: `v v`, the mean over a vertex' neighbours.
        level: density of the surface, 1/m.
    """
    for reach in (_REACH_M, _REACH_M / 2):
        normal = vertex_normals(places[None], faces)[0]
        steps = np.linspace(reach, -reach, _STEPS)
        density = np.stack([_ask(model, nodes, places + step * normal, -normal)[0] for step in steps], 1)
        inside = density > level
        enters = ~inside[:, :-1] & inside[:, 1:]
        part = (level - density[:, :-1]) / np.maximum(density[:, 1:] - density[:, :-1], 1e-9)
        at = np.where(enters, steps[:-1] + part * np.diff(steps), np.inf)
        nearest = np.take_along_axis(at, np.abs(at).argmin(1)[:, None], 1)[:, 0]
        otherwise = np.where(inside.all(1), reach, np.where(inside.any(1), 0.0, -reach))
        way = np.where(np.isfinite(nearest), nearest, otherwise)
        for _ in range(_SMOOTHINGS):
            way = 0.5 * way + 0.5 * (neighbours @ way)
        places = places + way[:, None] * normal
    normal = vertex_normals(places[None], faces)[0]
    return places, _ask(model, nodes, places - _BELOW_M * normal, -normal)[1]


def _neighbours(faces: Int64[np.ndarray, "f 3"], count: int) -> csr_array:
    """What takes the mean over the neighbours of each of `count` vertices, `v v`."""
    one = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.concatenate([one, one[:, ::-1]]), axis=0)
    share = 1 / np.maximum(np.bincount(edges[:, 0], minlength=count), 1)
    return csr_array((share[edges[:, 0]], (edges[:, 0], edges[:, 1])), shape=(count, count))


def _ask(
    model: AvatarNetwork,
    nodes: Nodes,
    points: Float[np.ndarray, "n 3"],
    look: Float[np.ndarray, "n 3"] | None = None,
) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, "n 3"]]:
    """Density and colour at points; `look` is the direction in which each is seen, from the front if left out."""
    x = torch.from_numpy(np.ascontiguousarray(points)).to(model.node)
    seen = torch.tensor([-1.0, 0.0, 0.0]).to(x).expand_as(x) if look is None else torch.from_numpy(look).to(x)
    parts = [model.query(nodes, 0, x[i : i + _CHUNK], seen[i : i + _CHUNK]) for i in range(0, len(x), _CHUNK)]
    density, colour = (torch.cat(found).cpu().numpy().astype(np.float32) for found in zip(*parts, strict=True))
    return density, colour


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
