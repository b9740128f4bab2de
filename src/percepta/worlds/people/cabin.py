"""Inside a car: a seated driver, three cameras, and 16 activities made by hands, head, torso and things held.

    drive = make_drive(seed=3, fps=10)          # every activity once, in random order, normal driving in between
    drive.spans                                  # exact: (activity, start_s, end_s), without normal driving
    drive.frame("Dashboard", 120, 160, 120)      # uint8 h w 3 of frame 120
    drive.label(120)                             # place in ACTIVITIES of that frame

Coordinates: x forward, y left, z up, metres, the driver's seat at the origin; the passenger sits to the right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64, UInt8
from scipy.spatial.transform import Rotation

from percepta.errors import InputError
from percepta.geometry import pose as poses
from percepta.geometry.body import JOINTS, Body, J, Motion, random_shape
from percepta.geometry.camera import Intrinsics
from percepta.geometry.meshes import Atlas, Mesh, joined, render
from percepta.worlds.people import paint
from percepta.worlds.people.film import Stage, random_stage
from percepta.worlds.people.motions import aim, reach
from percepta.worlds.people.person import Person, View, dressed

ACTIVITIES = (
    "normal driving", "drinking", "phone call right", "phone call left", "eating", "text right", "text left",
    "reaching behind", "adjusting the control panel", "picking up from the floor, driver's side",
    "picking up from the floor, passenger's side", "talking to the passenger at the right",
    "talking to the passengers behind", "yawning with a hand on the mouth", "hand on the head", "singing and dancing",
)  # fmt: skip
"""In the order of AI City 2023 and 2024."""
TYPICAL_S = (4.0, 8.0, 13.0, 13.0, 12.0, 13.0, 13.0, 7.0, 8.0, 6.0, 7.0, 13.0, 11.0, 6.0, 9.0, 14.0)
"""How long each lasts on average, seconds; of normal driving: the pause between two others."""
VIEWS = ("Dashboard", "Rear_view", "Right_side_window")
_EASE_S = 0.7  # from the wheel to the activity and back, inside the activity's span


@dataclass(frozen=True)
class Span:
    """An activity.

    Attributes:
        activity: place in ACTIVITIES.
        start_s, end_s: from the first frame on: when the first limb leaves normal driving, and when the last is back.
    """

    activity: int
    start_s: float | int
    end_s: float | int


@dataclass(frozen=True)
class _Act:
    """What an activity does, as functions of the time since it began.

    Attributes:
        hands: {side: name of a place that the wrist goes to, see `_places`}.
        lean_deg: of the torso to the right, forward, and turned to the left.
        head_deg: pitch (positive: down) and yaw (positive: to the left).
        prop: what is held: "", "bottle", "phone", "food". holds: the hand that holds it.
        beat_hz: rate at which the hand goes to and fro; 0: it stays. rest: share of the beat away from the place.
    """

    hands: Mapping[str, str]
    lean_deg: tuple[float | int, ...] = (0, 0, 0)
    head_deg: tuple[float | int, ...] = (0, 0)
    prop: str = ""
    holds: str = "right"
    beat_hz: float | int = 0.0


_ACTS: dict[int, _Act] = {
    1: _Act({"right": "mouth"}, (0, -4, 0), (-12, 0), "bottle", "right", 0.22),
    2: _Act({"right": "right ear"}, (2, 0, 0), (2, -6), "phone", "right"),
    3: _Act({"left": "left ear"}, (-2, 0, 0), (2, 6), "phone", "left"),
    4: _Act({"right": "mouth"}, (0, 3, 0), (4, 0), "food", "right", 0.45),
    5: _Act({"right": "right text"}, (3, 4, -4), (24, -14), "phone", "right"),
    6: _Act({"left": "left text"}, (-3, 4, 4), (24, 14), "phone", "left"),
    7: _Act({"right": "behind"}, (8, -2, -38), (0, -55), "", "right", 0.3),
    8: _Act({"right": "panel"}, (8, 8, -6), (14, -22), "", "right", 0.7),
    9: _Act({"left": "driver floor"}, (-6, 48, 0), (25, 8), "", "left", 0.2),
    10: _Act({"right": "passenger floor"}, (36, 34, -14), (22, -20), "", "right", 0.2),
    11: _Act({"right": "gesture"}, (2, 0, -10), (0, -58), "", "right", 0.35),
    12: _Act({"right": "gesture"}, (4, -2, -30), (0, -72), "", "right", 0.3),
    13: _Act({"left": "mouth"}, (0, -5, 0), (-14, 0), "", "left"),
    14: _Act({"left": "head"}, (-3, 0, 0), (4, 0), "", "left"),
    15: _Act({"right": "right beat", "left": "left beat"}, (0, 0, 0), (0, 0), "", "right", 1.1),
}


def _spans(rng: np.random.Generator, activities: Sequence[int], pace: float | int) -> tuple[list[Span], float]:
    """Activities one after the other with pauses, and when the last pause ends."""
    spans, now = [], float(rng.uniform(2.0, 5.0)) * pace
    for activity in activities:
        length = TYPICAL_S[activity] * pace * float(np.exp(rng.normal(0, 0.25)))
        length = max(length, 2.2 * _EASE_S)
        spans.append(Span(int(activity), round(now, 3), round(now + length, 3)))
        now += length + TYPICAL_S[0] * pace * float(rng.uniform(0.5, 1.6))
    return spans, now


@dataclass(frozen=True)
class Drive:
    """A recording: poses, things, cameras; pictures are drawn when they are asked for.

    Attributes:
        fps: frames a second.
        spans: the activities in order; everything else is normal driving.
        person: the driver. motion: the driver's poses.
        prop: what is held in each frame: place in PROPS. held: its pose in the world, `t 4 4`.
        stage: what is seen through the windows.
        views: {name: camera}; their sizes are of 160×120 pictures.
        seed: of noise and light.
    """

    fps: float | int
    spans: tuple[Span, ...]
    person: Person
    motion: Motion
    prop: np.ndarray
    held: Float64[np.ndarray, "t 4 4"]
    stage: Stage
    views: Mapping[str, View]
    seed: int
    cabin: tuple[np.ndarray, Mesh, Atlas] = field(repr=False)

    def __len__(self) -> int:
        return len(self.motion)

    def label(self, frame: int) -> int:
        """Place in ACTIVITIES of what is done in a frame."""
        now = frame / self.fps
        return next((span.activity for span in self.spans if span.start_s <= now < span.end_s), 0)

    @cached_property
    def _vertices(self) -> Float[np.ndarray, "t v 3"]:
        return self.person.moved(self.motion).astype(np.float32)

    @cached_property
    def _scene(self) -> tuple[Mesh, Atlas, int]:
        """Driver, cabin and things as one mesh."""
        person, (points, cabin, _) = self.person, self.cabin
        count = len(person.atlas.start)
        others = [cabin, *(_PROPS[name][1] for name in PROPS[1:])]
        shifted = [replace(mesh, texture=mesh.texture + count) for mesh in others]
        return joined([person.mesh, *shifted]), _both(person.atlas, self.cabin[2]), len(points)

    def frame(
        self, view: str, number: int, width: int = 160, height: int = 120, *, samples: int = 1
    ) -> UInt8[np.ndarray, "h w 3"]:
        """What a camera sees.

        Args:
            view: one of VIEWS.
            number: of the frame.
            width: of the picture, in pixels.
            height: of the picture, in pixels.
            samples: rays across and down each pixel.

        Raises:
            InputError: there is no such view.
        """
        if view not in self.views:
            raise InputError(f"the views are {', '.join(VIEWS)}, not {view!r}")
        camera, pose = self.views[view].camera.resized(width, height), self.views[view].world_from_camera
        mesh, atlas, _ = self._scene
        things = []
        for place, name in enumerate(PROPS[1:], 1):
            shown = self.prop[number] == place
            # a thing that is not there is drawn as a single point, which has no area
            things.append(poses.transform(self.held[number], _PROPS[name][0] * float(shown)))
        vertices = np.concatenate([self._vertices[number], self.cabin[0], *things])
        seen = render(vertices, mesh, atlas, camera, pose, light=self.stage.light, samples=samples)
        passing = Rotation.from_euler("z", 0.12 * number / self.fps + self.seed % 7).as_matrix()
        outside = poses.compose(passing @ pose[:3, :3], np.array([0, 0, 1.2]))
        picture = seen.over(0.4 + 0.6 * self.stage.behind(camera, outside, np.zeros(2)))
        rng = np.random.default_rng((self.seed, number, VIEWS.index(view)))
        noisy = 255 * picture + rng.normal(0, 4.0, (height, width, 1))
        return np.clip(noisy, 0, 255).astype(np.uint8)


def make_drive(
    seed: int, *, fps: float | int = 10.0, activities: Sequence[int] | None = None, pace: float | int = 1.0
) -> Drive:
    """A drive with its driver, car and cameras; follows from its arguments.

    Args:
        seed: of driver, car, order and times.
        fps: frames a second.
        activities: places in ACTIVITIES in the order in which they happen; None: each of 1 to 15 once, shuffled.
        pace: multiplies all durations; below 1 for short recordings.

    Raises:
        InputError: an activity is not 1 to 15.
    """
    rng, fps = np.random.default_rng((seed, 2023)), float(fps)
    order = rng.permutation(np.arange(1, len(ACTIVITIES))).tolist() if activities is None else list(activities)
    if any(not 1 <= int(a) < len(ACTIVITIES) for a in order):
        raise InputError(f"activities are places 1 to {len(ACTIVITIES) - 1} of ACTIVITIES, not {order}")
    spans, end = _spans(rng, order, pace)
    person = dressed("tight", random_shape(rng), paint.random_look(rng))
    count = int(end * fps) + 1
    motion, prop, held = _act(rng, person.body, spans, np.arange(count) / fps, fps)
    return Drive(
        fps, tuple(spans), person, motion, prop, held, random_stage(seed + 5000), _views(rng), seed, _cabin(rng)
    )


def _views(rng: np.random.Generator) -> dict[str, View]:
    places = {
        "Dashboard": ((0.74, 0.10, 1.00), (0.0, 0.0, 0.84), 72.0),
        "Rear_view": ((0.58, -0.34, 1.26), (0.06, -0.03, 0.74), 84.0),
        "Right_side_window": ((0.30, -1.02, 1.12), (0.14, 0.0, 0.78), 66.0),
    }
    out = {}
    for name, (eye, target, angle) in places.items():
        eye_ = np.array(eye) + rng.normal(0, 0.02, 3)
        camera = Intrinsics.field_of_view(160, 120, angle + float(rng.normal(0, 2)))
        out[name] = View(camera, poses.look_at(eye_, np.array(target) + rng.normal(0, 0.02, 3)))
    return out


# --- what the driver does ---------------------------------------------------------------------------------------------

_WHEEL = np.array([0.44, 0.0, 0.76])


def _act(
    rng: np.random.Generator, body: Body, spans: Sequence[Span], times: Float[np.ndarray, " t"], fps: float | int
) -> tuple[Motion, np.ndarray, Float64[np.ndarray, "t 4 4"]]:
    """Poses, the thing held and its pose in each frame."""
    count = len(times)
    lean, head = np.zeros((count, 3)), np.zeros((count, 2))
    sway = poses.tremor(rng, times, 1.0, low_hz=0.05, high_hz=0.6)
    lean += sway * (0.8, 0.8, 1.0)
    glance = np.clip(poses.tremor(rng, times, 1.0, low_hz=0.05, high_hz=0.3)[:, 0] - 1.1, 0, 1)
    head[:, 1] += 6 * sway[:, 2] - 40 * glance
    weight = np.zeros(count)
    which = np.zeros(count, int)
    since = np.zeros(count)
    scale = np.ones((count, 1))
    for span in spans:
        inside = (times >= span.start_s) & (times < span.end_s)
        t = np.minimum(times - span.start_s, span.end_s - times)[inside] / _EASE_S
        t = np.clip(t, 0, 1)
        weight[inside], which[inside] = t * t * (3 - 2 * t), span.activity
        since[inside] = times[inside] - span.start_s
        scale[inside] = rng.uniform(0.85, 1.15)
    for activity, act in _ACTS.items():
        inside = which == activity
        share = weight[inside, None] * scale[inside]
        lean[inside] += share * act.lean_deg
        head[inside] = head[inside] * (1 - weight[inside, None]) + share * act.head_deg
        if activity == 15:
            beat = np.sin(2 * np.pi * act.beat_hz * since[inside])[:, None] * share
            lean[inside] += beat * (9, 2, 5)
            head[inside] += beat * (10, 8)
    motion = _seated(body, lean, head, fps)
    joints = body.positions(motion)
    places = _places(body, motion, joints, times, sway)
    for side in ("left", "right"):
        target = places[f"{side} wheel"].copy()
        for activity, act in _ACTS.items():
            if side not in act.hands:
                continue
            inside = which == activity
            share = weight[inside]
            if act.beat_hz and activity != 15:
                wave = 0.5 + 0.5 * np.cos(2 * np.pi * act.beat_hz * since[inside] + np.pi)
                share = share * np.clip(0.35 + 1.3 * wave, 0, 1)
            goal = places[act.hands[side]][inside]
            target[inside] += share[:, None] * (goal - target[inside])
        sign = 1 if side == "left" else -1
        motion = reach(motion, body, side, target, (-0.35, sign * 0.75, -0.8))
    prop, held = np.zeros(count, int), np.tile(np.eye(4), (count, 1, 1))
    joints = body.positions(motion)
    for activity, act in _ACTS.items():
        if act.prop:
            inside = (which == activity) & (weight > 0.25)
            hand = J[f"{act.holds}_hand"]
            sign = 1 if act.holds == "left" else -1
            turn = motion.rotation[inside, hand]
            down = turn @ np.array([0, sign * np.sqrt(0.5), -np.sqrt(0.5)])
            front, up = turn[:, :, 0], -down
            held[inside, :3, :3] = np.stack([front, np.cross(up, front), up], -1)
            held[inside, :3, 3] = joints[inside, hand] + 0.10 * down + 0.03 * front
            prop[inside] = PROPS.index(act.prop)
    return motion, prop, held


def _seated(body: Body, lean: Float[np.ndarray, "t 3"], head: Float[np.ndarray, "t 2"], fps: float | int) -> Motion:
    """Somebody who sits, leans and looks."""
    count = len(lean)
    rotation = np.tile(np.eye(3), (count, len(JOINTS), 1, 1))
    base = Rotation.from_euler("y", -12, degrees=True).as_matrix()
    half = Rotation.from_euler("yxz", lean[:, [1, 0, 2]] / 2, degrees=True)
    full = Rotation.from_euler("yxz", lean[:, [1, 0, 2]], degrees=True)
    rotation[:, J["pelvis"]] = base
    rotation[:, J["spine"]] = base @ half.as_matrix()
    for name in ("chest", "left_clavicle", "right_clavicle", "left_upper_arm", "right_upper_arm"):
        rotation[:, J[name]] = base @ full.as_matrix()
    looks = Rotation.from_euler("zy", np.stack([head[:, 1], head[:, 0] + 8], -1), degrees=True).as_matrix()
    rotation[:, J["head"]] = rotation[:, J["chest"]] @ looks
    neck = Rotation.from_euler("zy", np.stack([head[:, 1], head[:, 0] + 8], -1) / 2, degrees=True).as_matrix()
    rotation[:, J["neck"]] = rotation[:, J["chest"]] @ neck
    for side, sign in (("left", 1), ("right", -1)):
        thigh = np.tile(np.array([0.96, 0.12 * sign, 0.06]), (count, 1))
        shin = np.tile(np.array([0.55, 0.0, -0.83]), (count, 1))
        rotation[:, J[f"{side}_thigh"]] = aim(thigh, np.tile([0, 0, 1.0], (count, 1)), f"{side}_thigh")
        rotation[:, J[f"{side}_shin"]] = aim(shin, np.tile([0.83, 0, 0.55], (count, 1)), f"{side}_shin")
        rotation[:, J[f"{side}_foot"]] = Rotation.from_euler("y", -20, degrees=True).as_matrix()
    root = np.tile([0.0, 0.0, 0.40], (count, 1))
    return Motion(root, rotation, fps, "driving")


def _places(
    body: Body, motion: Motion, joints: Float[np.ndarray, "t j 3"], times: np.ndarray, sway: np.ndarray
) -> dict[str, Float64[np.ndarray, "t 3"]]:
    """Where the wrist is for each named place, in each frame."""
    count, s = len(times), body.shape.height_m / 1.75
    head, turn = joints[:, J["head"]], motion.rotation[:, J["head"]]
    chest, chest_turn = joints[:, J["chest"]], motion.rotation[:, J["chest"]]

    def by_head(x: float | int, y: float | int, z: float | int) -> np.ndarray:
        return head + turn @ (np.array([x, y, z]) * s)

    def by_chest(x: float | int, y: float | int, z: float | int) -> np.ndarray:
        return chest + chest_turn @ (np.array([x, y, z]) * s)

    def fixed(x: float | int, y: float | int, z: float | int) -> np.ndarray:
        return np.tile([x, y, z], (count, 1)) + 0.012 * sway

    angle = 0.16 * sway[:, 0]
    beat = np.sin(2 * np.pi * 1.1 * times)
    talk = np.stack([0.05 * np.sin(2.9 * times), 0.07 * np.sin(4.3 * times), 0.06 * np.sin(3.7 * times + 1)], -1)
    grip = {
        side: _WHEEL + 0.175 * np.stack([-0.3 * np.sin(angle), sign * np.cos(angle), np.sin(angle) * sign + 0.25], -1)
        for side, sign in (("left", 1), ("right", -1))
    }
    return {
        "left wheel": grip["left"] - np.array([0.05, 0, 0.0]), "right wheel": grip["right"] - np.array([0.05, 0, 0.0]),
        "mouth": by_head(0.15, 0.0, -0.06), "right ear": by_head(0.11, -0.13, -0.08), "left ear": by_head(0.11, 0.13,
        -0.08),
        "right text": fixed(0.30, -0.10, 0.62), "left text": fixed(0.30, 0.12, 0.62), "behind": fixed(-0.30, -0.48,
        0.78),
        "panel": fixed(0.46, -0.34, 0.70) + talk * 0.4, "driver floor": fixed(0.42, 0.14, 0.16),
        "passenger floor": fixed(0.34, -0.62, 0.20), "gesture": by_chest(0.28, -0.26, 0.06) + talk,
        "head": by_head(-0.02, 0.11, 0.17), "right beat": by_chest(0.26, -0.24, 0.16) + 0.09 * beat[:,
        None] * np.array([0.2, 0.4, 1]),
        "left beat": by_chest(0.26, 0.24, 0.16) - 0.09 * beat[:, None] * np.array([0.2, -0.4, 1]),
    }  # fmt: skip


# --- things
# ------------------------------------------------------------------------------------------------------------


def _box(
    centre: Sequence[float | int], size: Sequence[float | int], texture: int, label: int, lean_deg: float | int = 0
) -> tuple[np.ndarray, Mesh]:
    """A box, leaned about y."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * np.array(size)
    corners = corners @ Rotation.from_euler("y", lean_deg, degrees=True).as_matrix().T + np.array(centre)
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    vertices, faces, uv = [], [], []
    for quad in quads:
        start = len(vertices)
        vertices += [corners[i] for i in quad]
        uv += [(0, 0), (1, 0), (1, 1), (0, 1)]
        faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
    count = len(faces)
    mesh = Mesh(
        np.array(faces), np.array(uv, float), np.full(count, texture), np.full(count, label), np.ones(count, bool)
    )
    return np.array(vertices), mesh


def _wheel(texture: int, label: int) -> tuple[np.ndarray, Mesh]:
    """The rim of a steering wheel."""
    around, across = 20, 5
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, around + 1), np.linspace(0, 2 * np.pi, across + 1))
    radius = 0.18 + 0.014 * np.cos(v)
    points = np.stack([0.014 * np.sin(v), radius * np.cos(u), radius * np.sin(u)], -1).reshape(-1, 3)
    points = points @ Rotation.from_euler("y", -25, degrees=True).as_matrix().T + _WHEEL
    at = np.arange((around + 1) * (across + 1)).reshape(across + 1, around + 1)
    a, b, c, d = at[:-1, :-1].ravel(), at[:-1, 1:].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel()
    faces = np.concatenate([np.stack([a, c, d], -1), np.stack([a, d, b], -1)])
    count = len(faces)
    return points, Mesh(
        faces, np.zeros((len(points), 2)), np.full(count, texture), np.full(count, label), np.ones(count, bool)
    )


CABIN, PROP = 12, 13
"""Labels of the car and of things held, after those of `person.LABELS`."""
PROPS = ("", "bottle", "phone", "food")
_PROPS: dict[str, tuple[np.ndarray, Mesh]] = {
    "bottle": _box((0, 0, 0.02), (0.065, 0.065, 0.21), 4, PROP),
    "phone": _box((0, 0, 0.0), (0.012, 0.075, 0.15), 5, PROP, 25),
    "food": _box((0, 0, 0.0), (0.075, 0.075, 0.06), 6, PROP),
}


def _cabin(rng: np.random.Generator) -> tuple[np.ndarray, Mesh, Atlas]:
    """Seats, dashboard, doors, floor and roof."""
    pieces = [
        _box((-0.21, 0, 0.66), (0.14, 0.50, 0.72), 0, CABIN, -12), _box((-0.27, 0, 1.12), (0.10, 0.26, 0.18), 0,
        CABIN, -8),
        _box((0.08, 0, 0.24), (0.56, 0.52, 0.16), 0, CABIN), _box((-0.21, -0.72, 0.66), (0.14, 0.50, 0.72), 0, CABIN,
        -12),
        _box((-0.27, -0.72, 1.12), (0.10, 0.26, 0.18), 0, CABIN, -8), _box((0.08, -0.72, 0.24), (0.56, 0.52, 0.16),
        0, CABIN),
        _box((0.72, -0.36, 0.66), (0.24, 1.5, 0.30), 1, CABIN), _box((0.585, -0.36, 0.70), (0.04, 0.26, 0.20), 2,
        CABIN),
        _box((0.2, 0.40, 0.45), (1.5, 0.06, 0.75), 3, CABIN), _box((-0.95, -0.36, 0.55), (0.2, 1.5, 0.80), 0, CABIN),
        _box((0.0, -0.36, 0.02), (2.0, 1.5, 0.04), 1, CABIN), _box((-0.45, 0.40, 1.1), (0.09, 0.05, 0.62), 3, CABIN,
        -14),
        _wheel(1, CABIN),
    ]  # fmt: skip
    vertices = np.concatenate([points for points, _ in pieces])
    mesh = joined([piece for _, piece in pieces])
    base = rng.uniform(45, 150)

    def dull(level: float | int, tint: float | int = 6.0) -> paint.Colour:
        red, green, blue = (int(np.clip(level + rng.normal(0, tint), 10, 245)) for _ in range(3))
        return red, green, blue

    seat, trim, bottle, food = dull(base, 15), dull(base * 0.55), dull(150, 60), dull(160, 50)
    textures = [
        paint.cloth(64, 64, "stripes", seat, dull(base * 0.85, 12), 6), paint.cloth(32, 32, "plain", trim, trim),
        paint.cloth(32, 32, "checks", (25, 25, 30), (60, 130, 160), 4), paint.cloth(32, 32, "plain",
        dull(base * 0.75), trim),
        paint.cloth(32, 32, "bands", bottle, (235, 235, 240), 2), paint.cloth(32, 32, "plain", (18, 18, 22), (18, 18,
        22)),
        paint.cloth(32, 32, "checks", food, dull(200, 30), 3),
    ]  # fmt: skip
    return vertices, mesh, Atlas.of(textures)


def _both(first: Atlas, second: Atlas) -> Atlas:
    """The textures of two atlases, the second one's after the first one's."""
    return Atlas(
        np.concatenate([first.texels, second.texels]),
        np.concatenate([first.start, second.start + len(first.texels)]),
        np.concatenate([first.size, second.size]),
    )
