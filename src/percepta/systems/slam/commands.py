"""The verbs of SLAM: `predict`, `evaluate` (trajectories of anybody, too), `calibrate` and `fit`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import __main__ as general
from percepta import shell
from percepta.errors import InputError

if TYPE_CHECKING:
    from percepta.datasets.capture import Capture
    from percepta.metrics.trajectory import Trajectory
    from percepta.systems.slam.predict import Slam, Walk

MAX_PICTURES = 8  # on the page


@dataclass(frozen=True)
class Predict(shell.Which):
    """Where a camera was and what it saw: trajectory, map, and a page with a plan and the points over pictures."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER|camera:0")] = tyro.MISSING
    """A video, a folder of pictures, 7-Scenes, TUM RGB-D, KITTI odometry, EuRoC, Stray Scanner, or a posed folder."""
    out: Path = Path("out/slam")
    """Folder of what is written."""
    camera: Path | None = None
    """camera.json of `percepta slam calibrate`, or Kalibr's camchain.yaml. Left out: as the data say, else guessed."""
    sensors: Literal["all", "mono", "depth", "stereo", "inertial"] = "all"
    """Which of the sensors that there are; inertial is one camera with an inertial sensor."""
    imu: Path | None = None
    """Inertial samples beside a video: a CSV (t in s, gyroscope in rad/s, accelerometer in m/s²), or the folder of
    Sensor Logger, phyphox, Stray Scanner or OpenCamera Sensors. When they begin against the video is estimated."""
    imu_camera: Path | None = None
    """Kalibr's camchain-imucam.yaml: where that sensor stands, and its offset. Left out: as on a phone."""
    imu_noise: Path | None = None
    """Kalibr's imu.yaml: its noise. Left out: that of a usual phone."""
    start: int = 0
    """First frame."""
    stop: int | None = None
    """Frame after the last."""
    stride: int = 1
    """Take every n-th frame."""
    max_px: int = 640
    """Larger videos are shrunk so that their longer side is this."""
    rolling_shutter: float | None = None
    """Time from the first row to the last as a share of the time between frames. Left out: as the data say."""
    map: Path | None = None
    """A map to go on in: the folder `map` of another run, or a saved .npz."""
    mapping: bool = True
    """--no-mapping only places frames in the map."""
    truth: Path | None = None
    """True trajectory (TUM, KITTI or EuRoC's csv). Left out: as the data say."""
    colmap: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also a COLMAP text model of the keyframes with their pictures."""
    posed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also a posed folder of all tracked frames: what `planes`, `online3d` and tools of others read."""
    live: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show map and camera in the browser while it runs (viser, 127.0.0.1 only)."""


def predict(options: Predict, screen: Console) -> int:
    """Goes through the frames; 1 where fewer than half of them were tracked."""
    import numpy as np

    from percepta.predictions import entry
    from percepta.systems.slam import demo, live, writers

    begin = shell.check_out(options.out, screen, shell.inputs_of(options.source))
    capture = _opened(options)
    system: Slam = shell.load("slam", options)
    begin()
    if capture.intrinsics_from == "guessed":
        capture = _guessed(system, capture, screen)
    if options.imu is not None:
        capture = _with_imu(system, capture, options, screen)
    capture = capture.part(options.start, options.stop, options.stride)
    session = system.session_of(
        capture,
        map=options.map,
        mapping=options.mapping,
        journal=options.out / "map" if options.mapping else None,
        **({} if options.rolling_shutter is None else {"rolling_shutter": options.rolling_shutter}),
    )
    posed = writers.PosedFolder(options.out / "posed", session.straight) if options.posed else None
    cloud = writers.FusedCloud(session.straight, max_depth_m=system.config.max_depth_m)
    images = options.out / "colmap" / "images"
    shown: dict[int, Any] = {}
    view = live.LiveView() if options.live else None
    if view is not None:
        screen.print(f"live view: {view.address}")
    with shell.progress_bar(screen, f"slam: {capture.name}") as bar:
        for number, shot in enumerate(capture):
            result = session.step(shot.frame, shot.time_s, shot.depth_m, shot.right, shot.imu)
            if posed is not None or result.keyframe:
                straight = session.straighten(shot.frame)
                depth_m = None if shot.depth_m is None else session.straight_depth(shot.depth_m)
                if posed is not None:
                    posed.add(result.frame, straight, depth_m)
                if result.keyframe and depth_m is not None:
                    cloud.add(result.frame, straight, depth_m)
                if result.keyframe and options.colmap:
                    from PIL import Image

                    images.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(straight).convert("RGB").save(
                        images / writers.picture_name(result.frame), quality=95
                    )
                if result.keyframe:
                    shown[result.frame] = straight
                    if len(shown) > 8 * MAX_PICTURES:
                        shown = dict(list(shown.items())[::2])
            if view is not None:
                view.show(session, result)
            bar(number + 1, max(len(capture), number + 1), f"{result.state}, {result.points_seen} points")
    # Of a focal length that could not be found nothing is said twice.
    walk = session.walk(check_camera="could not be estimated" not in capture.intrinsics_from)
    if not len(walk.frames):
        for text in walk.warnings:
            screen.print(escape(text), soft_wrap=True)
        screen.print(f"none of {len(walk.states)} frames was tracked: see the lines above, and docs/slam.md")
        return 1
    drawn = walk.save(options.out / "walk.png")
    rows = [entry(options.source, walk, drawn, drawn.with_suffix(".json"))]
    shell.write_predictions(options.out, "slam", walk.weights, rows)
    walk.save(options.out / "points.ply")
    cloud.write(options.out / "cloud.ply", walk)
    writers.trajectories(options.out, walk)
    if options.colmap:
        writers.colmap(options.out / "colmap" / "sparse" / "0", walk)
    if posed is not None:
        posed.finish(walk, session.straight_from_camera)
    truth = _truth(options, capture)
    numbers = scored(walk, truth, capture) if truth is not None else {}
    kept = [frame for frame in walk.views.frame.tolist() if frame in shown]
    chosen = [kept[int(i)] for i in np.linspace(0, len(kept) - 1, min(MAX_PICTURES, len(kept))).round()] if kept else []
    pictures = [(demo.with_points(walk, shown[frame], frame), f"frame {frame}") for frame in chosen]
    _page(options.out / "report.html", walk, capture, numbers, pictures)
    for text in walk.warnings:
        screen.print(escape(f"note: {text}"), soft_wrap=True)
    if numbers:
        screen.print(escape(", ".join(f"{name} {value}" for name, value in numbers.items())), soft_wrap=True)
    screen.print(escape(f"{walk!r}; camera: {capture.intrinsics_from}; {options.out / 'report.html'}"), soft_wrap=True)
    return 0 if 2 * len(walk.frames) >= len(walk.states) else 1


def _opened(options: Predict) -> Capture:
    from percepta.datasets import calibration, footage
    from percepta.systems.slam.data import only, open_capture

    source = options.source
    if source.startswith("camera:"):
        capture = footage.of_video(source, most_px=options.max_px)
    elif Path(source).expanduser().is_file():
        capture = footage.of_video(Path(source).expanduser(), most_px=options.max_px)
    else:
        capture = open_capture(Path(source).expanduser())
    if options.camera is not None:
        camera, lens = calibration.read_camera(options.camera)
        camera = camera.resized(capture.camera.width, capture.camera.height)
        capture = replace(capture, camera=camera, lens=lens, intrinsics_from=str(options.camera))
    if options.sensors != "all":
        capture = only(capture, options.sensors)
    if options.sensors == "stereo" and capture.right is None:
        raise InputError(f"{source}: there is no second camera")
    return capture


def _with_imu(system: Slam, capture: Capture, options: Predict, screen: Console) -> Capture:
    """The capture with the samples of a log."""
    from percepta.datasets import calibration, phone_log
    from percepta.geometry.imu import Imu, check_samples
    from percepta.systems.slam.phone import with_log

    assert options.imu is not None
    samples, sensor = check_samples(phone_log.read(options.imu), str(options.imu)), None
    if options.imu_camera is not None:
        table = calibration.read_yaml(options.imu_camera).get("cam0", {})
        place = calibration.camera_from_imu(options.imu_camera, table)
        if place is None:
            raise InputError(f"{options.imu_camera}: cam0 has no T_cam_imu")
        sensor = Imu(place) if options.imu_noise is None else calibration.imu(options.imu_noise, place)
        if table.get("timeshift_cam_imu") is not None:
            sensor = replace(sensor, offset_s=float(table["timeshift_cam_imu"]))
            return replace(capture, imu=sensor, samples=samples)
    with shell.progress_bar(screen, "finding the offset of the inertial samples") as bar:
        capture, said = with_log(system, capture, samples, sensor, progress=lambda done, of: bar(done, of, ""))
    screen.print(escape(said), soft_wrap=True)
    return capture


def _guessed(system: Slam, capture: Capture, screen: Console) -> Capture:
    """The capture with a focal length that is found by trying some on its beginning."""
    from percepta.systems.slam.guess import guess_focal

    with shell.progress_bar(screen, "finding the focal length") as bar:
        camera, said = guess_focal(system, capture, progress=lambda done, total: bar(done, total, ""))
    screen.print(escape(said), soft_wrap=True)
    return replace(capture, camera=camera, intrinsics_from=said)


def _truth(options: Predict, capture: Capture) -> Trajectory | None:
    from percepta.metrics import trajectory

    return capture.truth if options.truth is None else trajectory.read(options.truth)


def scored(walk: Walk, truth: Trajectory, capture: Capture) -> dict[str, str]:
    """Errors in words, by name.

    Args:
        walk: what was found.
        truth: the true way.
        capture: says what is scored.
    """
    from percepta.systems.slam.evaluate import score

    one = score(walk, replace(capture, truth=truth))
    return {
        "ATE": f"{one.ate_m:.4f} m of {truth.length_m:.1f} m",
        "RPE over 10 frames": f"{one.rpe_m:.4f} m",
        "tracked": f"{one.tracked:.1%}",
        "scale": f"{one.scale:.4f}",
    }


def _page(path: Path, walk: Walk, capture: Capture, numbers: dict[str, str], pictures: list[Any]) -> None:
    from collections import Counter

    from percepta.report import Gallery, Heading, Numbers, Page, Table, Text

    unit = "m" if walk.metric else "units (one camera does not know lengths)"
    facts = {
        "frames": f"{len(walk.frames)} of {len(walk.states)} tracked",
        "way": f"{walk.trajectory.length_m:.2f} {unit}",
        "points": f"{len(walk.points):,}",
        "keyframes": str(walk.keyframes),
        "parts of the map": str(len(set(walk.part.tolist()))),
        "camera": f"f = {walk.camera.fx:.1f} of {walk.camera.width} px, {capture.intrinsics_from}",
        **{f"frames {state}": str(count) for state, count in Counter(walk.states).items()},
    }
    page = Page(f"SLAM of {capture.name}").add(
        Numbers(numbers or {"tracked": facts["frames"], "way": facts["way"]}),
        Gallery([(walk.draw(), "the way and the points from above")]),
        Heading("Points of the map over keyframes"),
        Gallery(pictures),
        Table(["", ""], [list(row) for row in facts.items()]),
        *(Text(text) for text in walk.warnings),
    )
    page.write(path)


@dataclass(frozen=True)
class Evaluate(general.Evaluate):
    """Errors of a trajectory against the truth; or of this SLAM on sequences, with intervals and baselines."""

    trajectory: Path | None = None
    """A trajectory of any program: TUM, KITTI, or EuRoC's csv. Left out: this SLAM is evaluated on --data."""
    truth: Path | None = None
    """The true trajectory, in any of the formats."""
    scale: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Align over Sim(3): for one camera without depth."""
    max_difference_s: float = 0.02
    """How far apart the times of two poses may be."""
    data: Path | None = None
    """A folder of sequences with true poses. Left out: the synthetic world."""


def evaluate(options: Evaluate, screen: Console) -> int:
    """Scores a trajectory, or this SLAM."""
    if (options.trajectory is None) != (options.truth is None):
        raise InputError("a trajectory is scored against a truth: give both --trajectory and --truth")
    if options.trajectory is None or options.truth is None:
        return general.evaluate_network("slam", options, screen)
    from rich.table import Table

    from percepta.metrics import trajectory

    mine, truth = trajectory.read(options.trajectory), trajectory.read(options.truth)
    gap = options.max_difference_s
    errors, alignment = trajectory.absolute(mine, truth, with_scale=options.scale, max_difference_s=gap)
    table = Table(title=f"{options.trajectory.name} against {options.truth.name}")
    for index, column in enumerate(("error", "rmse", "mean", "median", "max")):
        table.add_column(column, justify="left" if index == 0 else "right")

    def row(name: str, found: trajectory.Errors) -> None:
        values = (found.rmse, found.mean, found.median, found.max)
        table.add_row(name, *(f"{value:.4f} {found.unit}" for value in values))

    row("ATE", errors)
    shift, turn = trajectory.relative(mine, truth, scale=alignment.scale, max_difference_s=gap)
    row("RPE, frame to frame", shift)
    row("", turn)
    if truth.length_m > 1:
        shift, turn = trajectory.relative(
            mine, truth, frames=None, metres=1.0, scale=alignment.scale, max_difference_s=gap
        )
        row("RPE, metre by metre", shift)
        row("", turn)
    screen.print(table)
    screen.print(
        f"{len(errors.values)} of {len(truth)} true poses have one of the trajectory ({len(mine)}); "
        f"scale {alignment.scale:.4f}; aligned over {'Sim(3)' if options.scale else 'SE(3)'}; "
        f"true way {truth.length_m:.2f} m"
    )
    return 0


@dataclass(frozen=True)
class Calibrate:
    """Finds a camera from a video of a chessboard or a ChArUco board; writes camera.json."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER")] = tyro.MISSING
    """A video or a folder of pictures of the board, tilted, in all corners of the picture."""
    out: Path = Path("camera.json")
    """What is written; `percepta predict slam --camera` reads it."""
    columns: int = 9
    """Inner corners of a chessboard in a row; squares of a ChArUco board."""
    rows: int = 6
    """Inner corners in a column; squares of a ChArUco board."""
    square_m: float = 0.025
    """Side of a square, metres."""
    marker_m: float | None = None
    """Side of a marker, metres: the board is a ChArUco board. Left out: a chessboard."""
    dictionary: str = "DICT_4X4_50"
    """The markers of a ChArUco board, as OpenCV names them."""
    lens: Literal["radtan", "fisheye"] = "radtan"
    """Model of the lens."""
    stride: int = 5
    """Look at every n-th frame."""


def calibrate(options: Calibrate, screen: Console) -> int:
    """Writes camera.json."""
    from percepta.datasets import calibration, footage
    from percepta.systems.slam.calibrate import Board, calibrate

    path = options.source.expanduser()
    capture = footage.of_pictures(path) if path.is_dir() else footage.of_video(path, most_px=None)
    stride = 1 if path.is_dir() else options.stride
    board = Board(options.columns, options.rows, options.square_m, options.marker_m, options.dictionary)
    with shell.progress_bar(screen, "looking for the board") as bar:

        def frames() -> Any:
            for number, shot in enumerate(capture.shots(stride=stride)):
                bar(stride * (number + 1), len(capture), "")
                yield shot.frame

        found = calibrate(frames(), board, options.lens)
    written = calibration.write_camera(
        options.out, found.camera, found.lens, error_px=round(found.error_px, 4), pictures=found.views
    )
    camera = found.camera
    screen.print(
        escape(
            f"{written}: fx {camera.fx:.2f}, fy {camera.fy:.2f}, centre {camera.cx:.2f} {camera.cy:.2f}, "
            f"{found.lens.model} {[round(value, 5) for value in found.lens.values]}; "
            f"{found.error_px:.3f} px over {found.views} pictures"
        ),
        soft_wrap=True,
    )
    return 0


@dataclass(frozen=True)
class Fit:
    """Fits the projection of the place descriptor on rendered rooms, in closed form; writes a checkpoint."""

    out: Path = tyro.MISSING
    """The checkpoint, FILE.safetensors; `--weights` of the other verbs reads it."""
    preset: str = "small"
    """Whose settings."""
    rooms: int = 46
    """How many rooms it is fitted on."""
    held_out: int = 14
    """How many further rooms it is judged on."""


def fit(options: Fit, screen: Console) -> int:
    """Fits, prints how often a place is among the best candidates, and writes the checkpoint."""
    import torch

    from percepta import checkpoint, pretrained
    from percepta.systems.slam import fitting
    from percepta.systems.slam.model import build
    from percepta.systems.slam.task import PRETRAINED

    model = build(shell.preset_of("slam", options.preset)).eval()
    if model.image is None:
        raise InputError(f"preset {options.preset!r} compares places by thumbnails; there is nothing to fit")
    frozen = pretrained.fill(model, PRETRAINED)
    seeds = range(fitting.FIRST, fitting.FIRST + options.rooms + options.held_out)
    with shell.progress_bar(screen, "rooms") as bar:
        features, path, room = fitting.features_of_rooms(model, seeds, lambda done, total: bar(done, total, ""))
    used = room < fitting.FIRST + options.rooms
    fitting.fit_rooms(model, features[used], fitting.same_place(path[used], room[used]))
    checkpoint.save(
        options.out, model, system="slam", preset=options.preset, config=model.config, frozen=frozen, half=True
    )
    screen.print(f"{options.out}")
    if options.held_out:
        with torch.no_grad():
            described = model.project(torch.from_numpy(features[~used])).numpy()
        hits = fitting.recall(described, fitting.same_place(path[~used], room[~used]))
        count = f"{len(described)} views in {hits.mean():.0%} of {len(hits)} cases"
        screen.print(f"the place is among the best four of {count}")
    return 0


COMMANDS = {
    "predict": (Predict, predict),
    "evaluate": (Evaluate, evaluate),
    "calibrate": (Calibrate, calibrate),
    "fit": (Fit, fit),
}
