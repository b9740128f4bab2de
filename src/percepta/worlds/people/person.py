"""A dressed person: body, garments and textures, moved by a motion and seen by cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.body import PARTS, Body, Motion, Shape, make_body
from percepta.geometry.camera import Intrinsics
from percepta.geometry.meshes import Atlas, Light, Mesh, Picture, joined, render
from percepta.worlds.people import paint
from percepta.worlds.people.cloth import Fabric, Garment, coat, simulate, skirt, sleeve

Outfit = Literal["tight", "skirt", "coat", "sleeves", "robe"]
OUTFITS: tuple[Outfit, ...] = ("tight", "skirt", "coat", "sleeves", "robe")
LABELS = ("background", *PARTS, "left_hand", "right_hand", "left_foot", "right_foot", "cloth")
"""What `Picture.label` counts; `prop` objects of a scene follow after these."""


@dataclass(frozen=True)
class Person:
    """Somebody with clothes.

    Attributes:
        body: in the rest pose.
        garments: loose cloth.
        look: colours, patterns and print.
        fabric: how the cloth behaves.
    """

    body: Body
    garments: tuple[Garment, ...]
    look: paint.Look
    fabric: Fabric = field(default_factory=Fabric)

    @cached_property
    def mesh(self) -> Mesh:
        """Triangles of body and garments, one after the other."""
        body = self.body
        corner = body.faces[:, 0]
        part = body.part[corner]
        weight = body.weights[body.faces].sum(1).argmax(-1)
        texture, label = part.copy(), part + 1
        for number, joint in enumerate((8, 12, 15, 18)):
            texture[weight == joint] = 6 if joint in (8, 12) else 7
            label[weight == joint] = len(PARTS) + 1 + number
        # arms and legs have hands and feet as closed parts of their own, whose texture coordinates start anew
        whole = Mesh(body.faces, body.uv, texture, label, np.zeros(len(body.faces), bool))
        others = [
            Mesh(g.faces, g.uv, np.full(len(g.faces), 8 + i), np.full(len(g.faces), 11), np.ones(len(g.faces), bool))
            for i, g in enumerate(self.garments)
        ]
        return joined([whole, *others])

    @cached_property
    def atlas(self) -> Atlas:
        """Textures of the parts and of the garments."""
        look = self.look
        arm, leg = paint.arm(look), paint.leg(look)
        parts = [paint.torso(look), paint.head(look), arm, arm, leg, leg, paint.hand(look), paint.shoe(look)]
        return Atlas.of([*parts, *(paint.garment(look, g.name) for g in self.garments)])

    def moved(self, motion: Motion) -> Float64[np.ndarray, "t v 3"]:
        """Vertices of `mesh` in each frame, the cloth simulated."""
        cloth = [simulate(garment, self.body, motion, self.fabric) for garment in self.garments]
        return np.concatenate([self.body.posed(motion), *cloth], 1)

    def seen(
        self,
        vertices: Float[np.ndarray, "v 3"],
        camera: Intrinsics,
        world_from_camera: Float[np.ndarray, "4 4"],
        *,
        light: Light | None = None,
        samples: int = 2,
    ) -> Picture:
        """A picture of one frame.

        Args:
            vertices: of one frame, see `moved`.
            camera: intrinsics.
            world_from_camera: the camera's pose.
            light: None: the usual lamp.
            samples: rays across and down each pixel.
        """
        return render(vertices, self.mesh, self.atlas, camera, world_from_camera, light=light, samples=samples)


def dressed(
    outfit: Outfit = "tight", shape: Shape | None = None, look: paint.Look | None = None, *, length: float | int = 0.55
) -> Person:
    """A person in an outfit.

    Args:
        outfit: "tight": nothing loose; "skirt"; "coat": a long open one; "sleeves": wide ones; "robe": coat and
            sleeves.
        shape: measures of the body; None: average.
        look: colours; None: the usual ones.
        length: of a skirt, as a share of the leg.

    Raises:
        InputError: there is no such outfit.
    """
    if outfit not in OUTFITS:
        raise InputError(f"an outfit is one of {', '.join(OUTFITS)}, not {outfit!r}")
    body = make_body(shape)
    garments: list[Garment] = []
    if outfit == "skirt":
        garments.append(skirt(body, length))
    if outfit in ("coat", "robe"):
        garments.append(coat(body))
    if outfit in ("sleeves", "robe"):
        garments += [sleeve(body, "left"), sleeve(body, "right")]
    return Person(body, tuple(garments), look or paint.Look())


@dataclass(frozen=True)
class View:
    """A camera that stands still.

    Attributes:
        camera: intrinsics.
        world_from_camera: its pose.
    """

    camera: Intrinsics
    world_from_camera: Float64[np.ndarray, "4 4"]


def ring(
    count: int,
    width: int,
    height: int,
    *,
    middle: Sequence[float | int] = (0.0, 0.0, 0.92),
    distance_m: float | int = 3.4,
    tall_m: float | int = 2.25,
    first_rad: float | int = 0.0,
    heights_m: Sequence[float | int] = (1.2, 1.7),
) -> list[View]:
    """Cameras at equal angles around a point, all looking at it, by turns at different heights.

    Args:
        count: how many.
        width: of their pictures, in pixels.
        height: of their pictures, in pixels.
        middle: what they look at, metres.
        distance_m: from there, on the floor.
        tall_m: height of what fits into the picture at that distance.
        first_rad: angle of the first one, from x towards y.
        heights_m: above the floor, taken in turn.
    """
    focal = height * distance_m / tall_m
    camera = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
    views = []
    for number in range(count):
        angle = first_rad + 2 * np.pi * number / count
        eye = np.array(middle) * (1, 1, 0) + (distance_m * np.cos(angle), distance_m * np.sin(angle), 0)
        eye[2] = heights_m[number % len(heights_m)]
        views.append(View(camera, poses.look_at(eye, middle)))
    return views
