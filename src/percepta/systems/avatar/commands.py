"""Verbs of avatars: `predict` makes pictures of a pose, `capture` renders somebody to train from, `prepare` makes a
capture of one's own videos, `bake` makes a mesh of a trained person, `animate` films it in a motion, `view` shows it in
the browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell
from percepta.errors import InputError, MissingFileError


@dataclass(frozen=True)
class CaptureOptions:
    """Renders somebody in loose clothes, by cameras around, as a folder in the layout of THUman4.0."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = tyro.MISSING
    """Where the capture is written; `novel` inside it gets the motion that training never sees."""
    outfit: Literal["tight", "skirt", "coat", "sleeves", "robe"] = "skirt"
    """What is worn."""
    motions: Path | None = None
    """A folder, archive or file of recorded motions (BVH, DeepMimic); left out: made-up motions."""
    moves: tuple[str, ...] = ()
    """Names of the motions of the capture, one after the other; left out: a swaying one."""
    novel: str = ""
    """Name of the motion that training never sees; left out: turning on the spot."""
    frames: int = 150
    """Of the capture, at 30 frames a second."""
    cameras: int = 8
    """Around the person."""
    size: tuple[int, int] = (128, 160)
    """Width and height of the pictures, in pixels."""


def capture(options: CaptureOptions, screen: Console) -> int:
    """Renders both captures."""
    from percepta.datasets import motions
    from percepta.systems.avatar.world import Rendered, subject
    from percepta.worlds.people.motions import joined, looped, made
    from percepta.worlds.people.rig import retarget

    if options.frames < 10 or options.cameras < 2 or min(options.size) < 16:
        raise InputError("a capture has at least 10 frames, 2 cameras and 16 pixels across")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise InputError(f"{options.out} is there already and not empty: a capture gets a folder of its own")
    person = subject(options.outfit)
    found = {} if options.motions is None else {m.name: m for m in motions.clips(options.motions)}

    def motion(names: tuple[str, ...], otherwise: str, frames: int) -> Any:
        """Recorded motions one after the other, or a made-up one."""
        if not names:
            return made(otherwise, (frames - 1) / 30, seed=1, body=person.body)
        missing = [name for name in names if name not in found]
        if missing:
            there = ", ".join(sorted(found)) or "none: give --motions"
            raise InputError(f"no motion {', '.join(missing)}; there are {there}")
        parts = [retarget(found[name], person.body).resampled(30) for name in names]
        whole = looped(joined(parts) if len(parts) > 1 else parts[0], (frames - 1) / 30)
        return whole.part(0, frames)

    novel = (options.novel,) if options.novel else ()
    for folder, moves in (
        (options.out, motion(options.moves, "sway", options.frames)),
        (options.out / "novel", motion(novel, "turn", max(options.frames // 5, 10))),
    ):
        Rendered(person, moves, options.size, options.cameras).save(folder)
        words = f"{folder}: {len(moves)} frames of {options.cameras} cameras, {moves.seconds:.1f} s"
        screen.print(escape(words), soft_wrap=True)
    return 0


@dataclass(frozen=True)
class PrepareOptions:
    """Makes a capture to train on from videos of several fixed, calibrated cameras: masks, poses, small pictures.

    NAME.mp4 in `videos` (or pictures in `images/NAME`), NAME as the calibration says. All begin at the same moment.
    """

    capture: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURE")] = tyro.MISSING
    """The folder with the videos."""
    out: Path = tyro.MISSING
    """The folder that is written, in the layout of THUman4.0."""
    sentence: str = "the person"
    """Who is meant, for the system `refer`; those whom the other cameras do not see there are left out anyway."""
    calibration: Path | None = None
    """A .qca.txt, a folder of OpenCV's .yml or .json, a COLMAP model, a calibration.json; left out: in CAPTURE."""
    metres_per_unit: float | None = None
    """Length of the calibration's unit; needed for COLMAP, which has none."""
    up: Literal["x", "-x", "y", "-y", "z", "-z", "cameras"] | None = None
    """The axis of the calibration that points up, or what is up in the pictures; needed for COLMAP. Left out: z."""
    keypoints: Path | None = None
    """A folder of 2-D keypoints: NAME.json (COCO) or NAME/*_keypoints.json (OpenPose); left out: masks alone."""
    facing_deg: float | None = None
    """Where the person looks in the first frame, degrees from x towards y; left out: the best of eight directions."""
    start: int = 0
    """Number of the first frame that is taken."""
    stride: int = 1
    """Every n-th frame is taken; 30 a second are enough."""
    frames: int | None = None
    """At most so many frames are taken; left out: all."""
    fps: float = 30.0
    """Frames a second of folders of pictures; videos say theirs."""
    height: int = 640
    """Of the pictures in which masks are found, in pixels."""
    size: tuple[int, int] = (128, 160)
    """Width and height of the pictures that are written, in pixels."""
    reach_m: float | None = None
    """How far clothes reach from the fitted body, metres (tight ones .08): masks end there; left out: they do not."""
    steps: int = 200
    """In which the body is fitted to all frames together, and to the first one."""


def prepare_(options: PrepareOptions, screen: Console) -> int:
    """Writes the folder, and says how well the body fits."""
    from percepta.files import check_apart

    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise InputError(f"{options.out} is there already and not empty: a capture gets a folder of its own")
    if min(options.size) < 16:
        raise InputError("pictures have at least 16 pixels across")
    if options.steps < 4:
        raise InputError(f"--steps is at least 4, got {options.steps}")
    if options.reach_m is not None and not 0 <= options.reach_m < 10:
        raise InputError(f"--reach-m is a length, 0 to 10 metres, got {options.reach_m}")
    if not options.sentence.strip():
        raise InputError("--sentence is empty: it says who is meant")
    check_apart(options.out, [options.capture])
    import json

    import percepta
    from percepta.contract import weights_hash
    from percepta.files import write_atomically
    from percepta.systems.avatar import prepare

    with shell.progress_bar(screen, "avatar") as bar:

        def told(what: str, done: int, total: int) -> None:
            bar(done, None, f"of {total}: {what}")  # each part has a pace of its own: no time left can be told

        footage = prepare.read_footage(
            options.capture, options.calibration, stride=options.stride, frames=options.frames, start=options.start,
            height=options.height, fps=options.fps, metres_per_unit=options.metres_per_unit, up=options.up, told=told,
        )  # fmt: skip
        refer: Any = percepta.load("refer")
        result = prepare.prepare(
            footage, options.out, lambda picture: refer.predict(picture, options.sentence).probability,
            size=options.size, points=options.keypoints, facing_deg=options.facing_deg, steps=options.steps,
            reach_m=options.reach_m, told=told,
        )  # fmt: skip
    shape, masks = result.fitted.shape, result.masks
    table = {
        "frames": list(footage.frames), "fps": footage.fps, "sentence": options.sentence,
        "refer": weights_hash(refer.model), "notes": list(footage.notes), "reach_m": options.reach_m, "cameras": {
            name: {
                "body_iou": float(result.overlap[i]), "rest_pose_iou": float(result.rest[i]),
                "hull_iou": masks.agreement[i], "refer_iou": masks.segmented[i],
                "shift_px": [view[0].cx - old[0].cx, view[0].cy - old[0].cy],
                "beyond_reach_px": int(result.away[i]), "beyond_reach_share": float(result.of_masks[i]),
            }
            for i, (name, view, old) in enumerate(zip(footage.names, result.fitted.views, footage.views, strict=True))
        },
        "height_m": shape.height_m, "girth": shape.girth, "legs": shape.legs, "arms": shape.arms,
        "shoulders": shape.shoulders,
    }  # fmt: skip
    write_atomically(options.out / "prepare.json", json.dumps(table, indent=1) + "\n")
    for note in footage.notes:
        screen.print(escape(f"note: {note}"), soft_wrap=True)
    for name, row in table["cameras"].items():
        words = f"{name}: the body covers its masks with an IoU of {row['body_iou']:.2f} (rest pose"
        words += f" {row['rest_pose_iou']:.2f}); the hull of all views {row['hull_iou']:.2f}"
        if options.reach_m is not None:
            words += f"; --reach-m took {row['beyond_reach_px']} of its pixels away ({row['beyond_reach_share']:.1%})"
        screen.print(escape(words), soft_wrap=True)
    words = f"{options.out}: {len(footage.frames)} frames of {len(footage.names)} cameras, a body of "
    screen.print(
        escape(f"{words}{shape.height_m:.2f} m; look at it: percepta data avatar check {options.out}"), soft_wrap=True
    )
    return 0


def read_motion(path: Path, config: Any, rig: Path | None) -> Any:
    """A motion for the body of an avatar, at the capture's rate of frames.

    Args:
        path: .bvh, DeepMimic .txt, .npz as in a capture, or .npz of SMPL-X poses.
        config: of the avatar.
        rig: a file that describes the recording's rig; None: the usual one of its kind.

    Raises:
        InputError, MissingFileError: it is no motion.
    """
    from percepta.datasets import motions, smplx, thuman4
    from percepta.systems.avatar.model import template
    from percepta.worlds.people.rig import read_rig, retarget

    kinds = "a .bvh, a DeepMimic .txt, a motion.npz or SMPL-X poses (.npz)"
    if path.is_dir():
        inside = [path / "motion.npz"] if (path / "motion.npz").is_file() else sorted(path.glob("*.bvh"))
        instead = f"give {inside[0]}" if inside else "there is none in it"
        raise InputError(f"{path} is a folder; a motion is one file, {kinds}: {instead}")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; a motion is {kinds}")
    if smplx.is_one(path):
        motion = retarget(smplx.read(path), template(config), None if rig is None else read_rig(rig))
    elif path.suffix == ".npz":
        motion = thuman4.read_motion(path)
    else:
        motion = retarget(motions.read(path), template(config), None if rig is None else read_rig(rig))
    return motion.resampled(config.fps) if abs(motion.fps - config.fps) > 1e-3 else motion


@dataclass(frozen=True)
class PredictOptions(shell.Which):
    """Pictures of the person in a pose of a motion, from all around."""

    motion: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[MOTION]")] = None
    """A .bvh, a DeepMimic .txt, the motion.npz of a capture, or SMPL-X poses (.npz); left out: the rest pose."""
    frame: int = 0
    """Which of its poses, at the capture's rate of frames."""
    angles: int = 4
    """Pictures all around; the first is taken from in front."""
    size: tuple[int, int] = (128, 160)
    """Width and height of the pictures, in pixels."""
    out: Path = Path("out/predict")
    """Folder of the pictures and of predictions.json."""
    rig: Path | None = None
    """A JSON file that describes the rig of another BVH."""


def predict(options: PredictOptions, screen: Console) -> int:
    """Writes the pictures."""
    from percepta.predictions import entry

    if options.angles < 1:
        raise InputError(f"--angles is at least 1, got {options.angles}")
    shell.check_out(options.out, screen)
    system: Any = shell.load("avatar", options)
    motion = None if options.motion is None else read_motion(options.motion, system.config, options.rig)
    name = "rest" if options.motion is None else options.motion.stem
    rows = []
    for number in range(options.angles):
        angle = 360 * number / options.angles
        result = system.predict(motion, frame=options.frame, angle_deg=angle, size=options.size)
        path = result.save(options.out / f"{name}-{options.frame}-{angle:.0f}.png")
        rows.append(entry(name if options.motion is None else str(options.motion), result, path, None))
        screen.print(escape(f"{result.text}, from {angle:.0f}°  ({path})"), soft_wrap=True)
    shell.write_predictions(options.out, "avatar", result.weights, rows)
    return 0


@dataclass(frozen=True)
class AnimateOptions:
    """Films a trained or baked person in a motion."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|BAKED")] = tyro.MISSING
    """A run folder, a checkpoint, `avatar` for the person that comes with the package, or a baked one (.npz)."""
    motion: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MOTION")] = tyro.MISSING
    """A .bvh, a DeepMimic .txt, the motion.npz of a capture, or SMPL-X poses (.npz), as AMASS has them."""
    out: Path = Path("out/avatar.mp4")
    """The film; its ending says the format."""
    camera: Literal["orbit", "front", "side", "back"] = "orbit"
    """Goes around the person, or stands still."""
    size: tuple[int, int] = (256, 320)
    """Width and height in pixels."""
    rig: Path | None = None
    """A JSON file that describes the rig of another BVH."""


def animate(options: AnimateOptions, screen: Console) -> int:
    """Writes the film."""
    from percepta.files import check_apart, check_writable
    from percepta.media import image

    check_apart(options.out, [options.run, options.motion])
    if options.out.suffix.lower() not in image.VIDEO_SUFFIXES:
        raise InputError(f"--out {options.out}: a film ends in .mp4, .mov or the like")
    check_writable(options.out)
    import numpy as np

    import percepta
    from percepta.media import video
    from percepta.systems.avatar import bake
    from percepta.systems.avatar.predict import orbit

    start = {"orbit": 0.0, "front": 0.0, "side": 90.0, "back": 180.0}[options.camera]
    turn = 40.0 if options.camera == "orbit" else 0.0
    if options.run.suffix == ".npz":
        baked = bake.read(options.run)
        motion = read_motion(options.motion, _config_of(baked), options.rig)
        places, shades = baked.posed(motion), baked.coloured(motion)

        def frames() -> Any:
            for frame, vertices in enumerate(places):
                camera, pose = orbit(motion.root[frame], start + turn * frame / motion.fps, options.size)
                colour, cover = baked.render(vertices, shades[frame], camera, pose)
                yield np.round(255 * (colour + 1 - cover[..., None]).clip(0, 1)).astype(np.uint8)
    else:
        system: Any = percepta.load(options.run, system="avatar")
        motion = read_motion(options.motion, system.config, options.rig)

        def frames() -> Any:
            with shell.progress_bar(screen, "avatar") as bar:
                for number, result in enumerate(
                    system.film(motion, size=options.size, turn_deg_s=turn, angle_deg=start)
                ):
                    bar(number + 1, len(motion), "")
                    yield result.over()

    written = video.write(options.out, frames(), round(motion.fps))
    screen.print(escape(f"{written}: {len(motion)} frames of {motion.name}, {motion.seconds:.1f} s"), soft_wrap=True)
    return 0


def _config_of(baked: Any) -> Any:
    from percepta.systems.avatar import Config

    return Config(body=baked.body, fps=baked.fps)


@dataclass(frozen=True)
class BakeOptions:
    """Makes a mesh of a trained person, which needs no network and can be taken elsewhere."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = tyro.MISSING
    """A run folder, a checkpoint, or `avatar` for the person that comes with the package."""
    data: Path = tyro.MISSING
    """The capture that it was trained on, or a motion.npz: what the cloth did there is what its morphs say."""
    out: Path = Path("out/avatar.npz")
    """.npz for `animate` and `view`; .glb for other programs."""
    motion: Path | None = None
    """For .glb: a motion that becomes its animation."""
    voxel_m: float = 0.016
    """Distance of the points at which the density is sampled, metres."""
    level: float = 8.0
    """Density at which the surface lies, 1/m."""
    frames: int = 60
    """Frames of the capture onto which the mesh is laid: more take longer."""
    morphs: int = 24
    """Most components of what changes with the pose: more make a larger file."""


def bake_(options: BakeOptions, screen: Console) -> int:
    """Writes the baked person."""
    import percepta
    from percepta.datasets import thuman4
    from percepta.files import check_apart, check_writable, write_atomically
    from percepta.systems.avatar import bake, gltf

    if options.out.suffix not in (".npz", ".glb"):
        raise InputError(f"{options.out}: a baked person is saved as .npz or .glb")
    check_apart(options.out, [path for path in (options.run, options.data, options.motion) if path is not None])
    if options.out.suffix == ".npz" and options.out.exists() and not bake.is_one(options.out):
        raise InputError(f"{options.out} is there already and no baked person: it would be lost; give another --out")
    check_writable(options.out)
    if options.motion is not None and options.out.suffix == ".npz":
        raise InputError("--motion becomes the animation of a .glb; an .npz takes none (see `percepta avatar animate`)")
    system: Any = percepta.load(options.run, system="avatar")
    moves = None if options.motion is None else read_motion(options.motion, system.config, None)
    motion = thuman4.read_motion(options.data) if options.data.suffix == ".npz" else thuman4.read(options.data).motion
    with shell.progress_bar(screen, "avatar") as bar:
        baked = bake.bake(
            system.model, motion, voxel_m=options.voxel_m, level=options.level, frames=options.frames,
            morphs=options.morphs, progress=lambda done, total: bar(done, total, "frames"),
        )  # fmt: skip
    if options.out.suffix == ".npz":
        baked.save(options.out)
    else:
        write_atomically(options.out, gltf.glb(baked, moves))
    words = f"{options.out}: {len(baked.vertices)} vertices, {len(baked.faces)} triangles, {len(baked.morphs)} morphs"
    screen.print(escape(words), soft_wrap=True)
    return 0


@dataclass(frozen=True)
class ViewOptions:
    """Shows a baked person in the browser (viser, 127.0.0.1 only)."""

    baked: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="BAKED")] = tyro.MISSING
    """What `percepta avatar bake` wrote (.npz)."""
    motion: Path | None = None
    """A motion that can be played."""
    port: int = 8080
    """Of the page."""


def view(options: ViewOptions, screen: Console) -> int:
    """Serves until it is interrupted."""
    import time

    from percepta.systems.avatar import bake, live

    baked = bake.read(options.baked)
    motion = None if options.motion is None else read_motion(options.motion, _config_of(baked), None)
    page = live.LiveView(baked, motion, options.port)
    screen.print(f"{page.address}: stop with Ctrl-C")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        return 0


COMMANDS = {
    "predict": (PredictOptions, predict),
    "capture": (CaptureOptions, capture),
    "prepare": (PrepareOptions, prepare_),
    "animate": (AnimateOptions, animate),
    "bake": (BakeOptions, bake_),
    "view": (ViewOptions, view),
}
