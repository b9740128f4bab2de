"""What an avatar answers: pictures of a person in poses and from cameras of one's choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from percepta.contract import Evaluate, OpenStream, described, weights_hash
from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.body import Motion
from percepta.geometry.camera import Intrinsics, rays
from percepta.media.draw import Shown
from percepta.systems.avatar import Config
from percepta.systems.avatar.latent import conditions
from percepta.systems.avatar.model import AvatarNetwork, Nodes, template

_RAYS = 4096  # at a time


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The person in one pose, seen by one camera.

    Attributes:
        colour: RGB 0..1 on black.
        alpha: opacity, 0..1.
        frame: of the motion.
        motion: what is done, in words.
        weights: hash of the weights that answered.
    """

    colour: Float[np.ndarray, "h w 3"]
    alpha: Float[np.ndarray, "h w"]
    frame: int
    motion: str = ""
    weights: str = ""

    @property
    def text(self) -> str:
        """The answer in words."""
        height, width = self.alpha.shape
        return (
            f"{self.motion or 'a pose'}, frame {self.frame}: {width}×{height}, {float(self.alpha.mean()):.0%} covered"
        )

    def over(self, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> UInt8[np.ndarray, "h w 3"]:
        """The picture before a colour, RGB 0..255."""
        whole = self.colour + (1 - self.alpha[..., None]) * np.array(background)
        return np.round(255 * whole.clip(0, 1)).astype(np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: frame, motion, size, share of the picture that is covered, weights."""
        height, width = self.alpha.shape
        covered = round(float(self.alpha.mean()), 6)
        return {
            "frame": self.frame, "motion": self.motion, "width": width, "height": height, "covered": covered,
            "weights": self.weights,
        }  # fmt: skip

    def draw(self) -> Image.Image:
        """The picture on white."""
        return Image.fromarray(self.over())


@dataclass(frozen=True)
class Avatar:
    """A person that can be moved, ready to use: `percepta.load("avatar")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of the weights and of the data behind them.
        evaluate: its numbers on data.
        open_stream: not used: an avatar looks at no pictures.
    """

    config: Config
    model: AvatarNetwork
    licence: str
    evaluate: Evaluate
    open_stream: OpenStream
    name: ClassVar[str] = "avatar"

    def __repr__(self) -> str:
        return described(self)

    @torch.inference_mode()
    def predict(
        self,
        motion: Motion | None = None,
        *,
        frame: int = 0,
        angle_deg: float | int = 0.0,
        size: tuple[int, int] = (128, 160),
        camera: Intrinsics | None = None,
        world_from_camera: Float[np.ndarray, "4 4"] | None = None,
    ) -> Result:
        """The person in a pose of a motion.

        Args:
            motion: poses, see `geometry.body.Motion`; None: the rest pose.
            frame: which of them; its past is taken from the motion too.
            angle_deg: where the camera stands around the person: 0 in front, 90 to the person's left.
            size: width and height of the picture in pixels, for that camera.
            camera: intrinsics of a camera of one's own.
            world_from_camera: its pose.

        Raises:
            InputError: there is no such frame, or only one of `camera` and `world_from_camera` is given.
        """
        motion = template(self.config).rest() if motion is None else motion
        if not 0 <= frame < len(motion):
            raise InputError(f"the motion has frames 0 to {len(motion) - 1}, not {frame}")
        if (camera is None) != (world_from_camera is None):
            raise InputError("give both camera and world_from_camera, or neither")
        if camera is None or world_from_camera is None:
            camera, world_from_camera = orbit(motion.root[frame], angle_deg, size)
        model = self.model
        weight = model.node
        joints = template(self.config).transforms(motion.part(frame, frame + 1))
        condition = conditions(self.config, motion)[frame : frame + 1]
        nodes = model.nodes(torch.from_numpy(joints).to(weight), torch.from_numpy(condition).to(weight))
        heading = torch.from_numpy(rays(camera) @ world_from_camera[:3, :3].T)
        direction = torch.nn.functional.normalize(heading, dim=-1).to(weight)
        origin = torch.from_numpy(world_from_camera[:3, 3]).to(weight).expand_as(direction)
        return Result(*picture(model, nodes, origin, direction), frame, motion.name, weights_hash(model))

    def film(
        self,
        motion: Motion,
        *,
        size: tuple[int, int] = (128, 160),
        turn_deg_s: float | int = 0.0,
        angle_deg: float | int = 0.0,
    ) -> Iterator[Result]:
        """The person in every pose of a motion, one picture after the other.

        Args:
            motion: poses.
            size: width and height in pixels.
            turn_deg_s: how fast the camera goes around, degrees a second.
            angle_deg: where it starts.
        """
        for frame in range(len(motion)):
            yield self.predict(motion, frame=frame, angle_deg=angle_deg + turn_deg_s * frame / motion.fps, size=size)


def picture(
    model: AvatarNetwork, nodes: Nodes, origin: Float[torch.Tensor, "h w 3"], direction: Float[torch.Tensor, "h w 3"]
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Colour on black and opacity of every pixel; a part of the rays at a time, so that memory does not grow.

    Args:
        model: in eval mode.
        nodes: of one frame.
        origin: of each pixel's ray.
        direction: of each pixel's ray.
    """
    parts = zip(*(x.flatten(0, 1)[None].split(_RAYS, 1) for x in (origin, direction)), strict=True)
    seen = [model.render(nodes, *part) for part in parts]
    colour, alpha = torch.cat([x.colour for x in seen], 1), torch.cat([x.alpha for x in seen], 1)
    return colour.view(origin.shape).float().cpu().numpy(), alpha.view(origin.shape[:2]).float().cpu().numpy()


def orbit(
    root: Float[np.ndarray, " 3"], angle_deg: float | int, size: tuple[int, int]
) -> tuple[Intrinsics, Float[np.ndarray, "4 4"]]:
    """A camera that sees the whole person, 3.4 m away, and its pose.

    Args:
        root: where the pelvis is, metres.
        angle_deg: around the person, from x towards y.
        size: width and height of the picture, in pixels.
    """
    width, height = size
    focal = height * 3.4 / 2.25
    camera = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
    angle = np.radians(angle_deg)
    middle = np.array([root[0], root[1], 0.92])
    eye = middle + np.array([3.4 * np.cos(angle), 3.4 * np.sin(angle), 0.5])
    return camera, poses.look_at(eye, middle)
