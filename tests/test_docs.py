"""README and docs run as they stand: every command is read by the real parser and run, every Python block executed.

Each page is gone through from top to bottom in a folder that holds what its reader is said to have. Commands run in
this process; trainings are cut to one step, and local pages are opened once. What is not run at all stands in NOT_RUN.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shlex
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import percepta
from conftest import UNFINISHED
from percepta import __main__ as cli
from percepta import shell
from percepta import train as training
from percepta.media import video
from percepta.systems import SHORT, TABLE
from test_new_system import tint  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[1]
PAGES = {
    path.name: path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if path.stem.partition("-")[0] not in UNFINISHED
}

# What is read by the parser but not run: (page, command) and why. This table may only shrink.
NOT_RUN: dict[tuple[str, str], str] = {
    (
        "online3d.md",
        "percepta evaluate online3d --weights runs/mine",
    ): "renders rooms for a minute",
    ("README.md", "percepta export refer --weights runs/mine --out onnx"): "24 s; a test of the contract",
    ("distill.md", "percepta export distill --weights runs/pets --out onnx"): "10 s; a test of the contract",
}
MOST_NOT_RUN = 3
# Python blocks that another test runs.
ELSEWHERE = {"new-system.md": "tests/test_new_system.py builds its system"}
# Options that make a command short, put in the place of what the page says: (the command begins with, words).
CUTS = (
    ("percepta train ", "--train.steps 1"),
    ("percepta train refer ", "--train.batch-size 2"),
    ("percepta train planes ", "--train.batch-size 1"),
    ("percepta train vos ", "--train.batch-size 1"),
    ("percepta train weather ", "--train.batch-size 2"),
    ("percepta train supernet ", "--train.batch-size 8"),
    ("percepta train online3d ", "--rooms 1"),
    ("percepta train actions ", "--train.batch-size 1"),
    ("percepta train replay ", "--train.batch-size 2"),
    ("percepta train spotting ", "--train.batch-size 2"),
    ("percepta avatar capture ", "--frames 10 --cameras 4 --size 32 40"),
    ("percepta avatar prepare ", "--stride 1 --steps 30"),
    ("percepta avatar animate ", "--size 32 40"),
    ("percepta predict avatar ", "--size 32 40"),
    ("percepta avatar bake ", "--level 5 --voxel-m 0.05"),  # after one step nothing is as dense as a person
    ("percepta driver drives ", "--count 8 --pace 0.05"),
    ("percepta planes keep runs/planes-data/0 ", "--rooms 2"),
    ("percepta planes keep runs/planes-data/1 ", "--rooms 2"),
    ("percepta supernet rank ", "--pictures 2"),
    ("percepta supernet search ", "--epochs 1 --samples 4"),
    ("percepta scan ", "--stop 10"),
)
PLACEHOLDER = re.compile(r"\b(SYSTEM|VERB|INPUT)\b|\.\.\.|…")


# ---------------------------------------------------------------------------------------------- what a page holds


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: "sh", "python", "text", ...; "" for none.
        text: its lines.
        line: number of its first line in the file.
    """

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start()) + 2)
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def commands(block: Block) -> list[str]:
    """The lines of a block of shell, without comments; a line that ends with a backslash goes on in the next."""
    lines = block.text.replace("\\\n", " ").splitlines()
    found = (shlex.join(shlex.split(line.removesuffix("&").strip(), comments=True)) for line in lines)
    return [line for line in found if line]


def inline(text: str) -> list[str]:
    """What stands between backticks outside blocks."""
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(text))]


def of_pages(kind: Callable[[str], Sequence[str]]) -> list[Any]:
    """(page, one) for everything that a function finds in a page."""
    return [
        pytest.param(page, one, id=f"{page}: {one}")
        for page, path in PAGES.items()
        for one in dict.fromkeys(kind(path.read_text(encoding="utf-8")))
    ]


def shell_lines(text: str) -> list[str]:
    return [line for block in blocks(text) if block.language == "sh" for line in commands(block)]


def inline_commands(text: str) -> list[str]:
    return [one for one in inline(text) if one.startswith("percepta ") and not PLACEHOLDER.search(one)]


# ---------------------------------------------------------------------------------------------------- it can be read


class _ReadError(Exception):
    """Ends a command once its options are read."""


def read_only(line: str) -> None:
    """Lets the real parser read a command: system, verb, and every option with its value.

    Raises:
        AssertionError: it does not.
    """

    def parse(*given: Any, **rest: Any) -> NoReturn:
        shell.parse(*given, **rest)
        raise _ReadError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "parse", parse)
        try:
            cli._run(shlex.split(line)[1:], Console(file=io.StringIO()))
        except _ReadError:
            return
        except SystemExit as end:
            assert end.code in (0, None), f"{line}: a value that its option does not take"
        except percepta.InputError as error:
            raise AssertionError(f"{line}: {error}") from None


@pytest.mark.parametrize(("page", "line"), of_pages(shell_lines))
def test_a_line_of_shell_can_be_read(page: str, line: str, request: pytest.FixtureRequest) -> None:
    if page == "new-system.md":
        request.getfixturevalue("tint")
    first, *rest = shlex.split(line)
    if first == "percepta":
        read_only(line)
    elif first == "torchrun":
        from torch.distributed.run import get_args_parser

        given = get_args_parser().parse_args(rest)
        assert given.module and given.training_script == "percepta"
        read_only(shlex.join(["percepta", *given.training_script_args]))
    elif first == "ray":
        scripts = pytest.importorskip("ray.scripts.scripts", reason="Ray's own commands: pip install 'percepta[scale]'")
        known = {option for item in scripts.cli.commands[rest[0]].params for option in item.opts}
        assert {word for word in rest if word.startswith("--")} <= known
    elif first == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert rest and set(rest) <= set(targets)
    elif first == "pip":
        assert rest[0] == "install" and rest[1:] in (["torch"], ["."])
    elif first == "python":
        source = (ROOT / rest[0]).read_text()
        assert all(f'"{word}"' in source for word in rest[1:] if word.startswith("--"))
    else:
        raise AssertionError(f"{page}: {first} is no command that this test knows")


@pytest.mark.parametrize(("page", "line"), of_pages(inline_commands))
def test_a_command_in_a_sentence_can_be_read(page: str, line: str, request: pytest.FixtureRequest) -> None:
    """One that is only named, such as `percepta rate`, has to have a help."""
    if page == "new-system.md":
        request.getfixturevalue("tint")
    names = {
        *TABLE,
        *SHORT,
        *cli.GENERAL,
        *cli.PLAIN,
        *(verb for system in TABLE for verb in shell.commands_of(system)),
    }
    only_named = set(line.split()[1:]) <= {*names, "tint"}
    read_only(f"{line} --help" if only_named else line)


def test_no_command_hides_from_these_tests() -> None:
    for page, path in PAGES.items():
        text = path.read_text(encoding="utf-8")
        for block in blocks(text):
            if block.language in ("", "text"):
                assert not re.search(r"^(percepta|make|pip|python) ", block.text, re.MULTILINE), f"{page}:{block.line}"
        assert not re.search(r"^ {4,}(percepta|make|pip) ", prose(text), re.MULTILINE), page
        assert {block.language for block in blocks(text)} <= {"", "sh", "python", "text", "json", "csv"}, page


def test_options_that_are_named_in_sentences_exist() -> None:
    known = {"--help", "--debug", "--version"}
    kinds: list[Any] = [
        cli.Evaluate, cli.Predict, cli.Export, cli.Data, cli.Card, cli.Demo, cli.Samples, cli.Scan, cli.Cutout,
        cli.Highlights,
    ]  # fmt: skip
    for system in TABLE:
        kinds += [cli.train_options(system, "small"), *(kind for kind, _ in shell.commands_of(system).values())]
    for name in (name for kind in kinds for name in shell.option_names(kind)):
        known |= {f"--{name}", f"--no-{name}"}
    for page, path in PAGES.items():
        for one in inline(path.read_text(encoding="utf-8")):
            words = {word.partition("=")[0] for word in one.split() if re.match(r"--\w", word)}
            if not one.startswith("python ") and not PLACEHOLDER.search(one):
                assert words <= known, f"{page}: {one}"


def test_extras_exist_and_all_are_listed() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for page, path in PAGES.items():
        named = re.findall(r"(?:percepta|\.)\[([\w,]+)\]", path.read_text(encoding="utf-8"))
        assert {extra for names in named for extra in names.split(",")} <= extras, page
    table = re.search(r"\| extra \|.*?\n\n", PAGES["README.md"].read_text(encoding="utf-8"), re.DOTALL)
    assert table is not None and set(re.findall(r"^\| `(\w+)`", table[0], re.MULTILINE)) == extras
    assert extras - {"parity"} == set(cli.EXTRAS)


def test_links_lead_to_files() -> None:
    for page, path in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose(path.read_text(encoding="utf-8"))):
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_the_reference_is_that_of_the_source() -> None:
    """`make docs` changes nothing."""
    pytest.importorskip("griffe", reason="the reference is written with griffe: pip install 'percepta[dev]'")
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
    assert spec is not None and spec.loader is not None
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").iterdir()}
    assert written == api.pages(), "run `make docs`"


def test_the_index_has_every_page_and_every_system() -> None:
    text = PAGES["index.md"].read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", text))
    assert linked == set(PAGES) - {"README.md", "index.md"}
    assert set(re.findall(r"^\| (\w+) \|", text, re.MULTILINE)) - {"system"} == set(TABLE)


def test_the_table_of_what_is_not_run_only_shrinks() -> None:
    lines = {page: shell_lines(path.read_text(encoding="utf-8")) for page, path in PAGES.items()}
    assert len(NOT_RUN) <= MOST_NOT_RUN and all(line in lines[page] for page, line in NOT_RUN)
    for start, *_ in CUTS:
        assert any(line.startswith(start) for some in lines.values() for line in some), start


# ------------------------------------------------------------------------------------- what a reader is said to have


def photographs(folder: str, *names: str) -> None:
    """The photographs that ship, under other names where some are given."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, one in zip(names or [f"{one}.jpg" for one in percepta.SAMPLES], percepta.SAMPLES * 3, strict=False):
        Image.open(percepta.sample(one)).save(Path(folder, name))


def clip(path: str, frames: int = 8) -> None:
    """A second of a camera that moves over the cat."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    whole = np.asarray(Image.open(percepta.sample("cat")).resize((240, 160)))
    video.write(path, (np.ascontiguousarray(whole[:, x : x + 160]) for x in (8 * (i % 11) for i in range(frames))), 8)


def own_pictures(folder: str) -> None:
    """Pictures of a yellow thing, with masks and sentences, for `refer`."""
    for kind in ("images", "masks"):
        Path(folder, kind).mkdir(parents=True)
    rows = ["image,sentence"]
    for number in range(24):
        box = (10 + 2 * number, 20, 50 + 2 * number, 60)
        for kind, ground, tone in (("images", (10 * number, 90, 160), (255, 200, 0)), ("masks", 0, 255)):
            picture = Image.new("RGB" if kind == "images" else "L", (120, 90), ground)
            picture.paste(tone, box)
            picture.save(Path(folder, kind, f"{number}.png"))
        rows.append(f"{number}.png,the yellow thing")
    Path(folder, "sentences.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def classes(folder: str, *names: str) -> None:
    """Twelve small pictures of each of some classes."""
    rng = np.random.default_rng(0)
    for name in names:
        Path(folder, name).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(Path(folder, name, f"{number}.png"))


def recording(folder: str, frames: int) -> None:
    """A walk through a rendered room, with depth."""
    from percepta.geometry.camera import Intrinsics
    from percepta.worlds import rooms

    world, camera = rooms.room(4), Intrinsics.field_of_view(96, 72, 58.0)
    for kind in ("color", "depth", "pose"):
        Path(folder, kind).mkdir(parents=True)
    np.savetxt(Path(folder, "intrinsics.txt"), camera.matrix)
    for number, pose in enumerate(rooms.walk(world, 0, frames=frames, fps=3)):
        view = rooms.render(world, pose, camera)
        Image.fromarray(view.colour).save(Path(folder, "color", f"{number}.png"))
        Image.fromarray((view.depth_m * 1000).astype(np.uint16)).save(Path(folder, "depth", f"{number}.png"))
        np.savetxt(Path(folder, "pose", f"{number}.txt"), pose)


def actions() -> None:
    """Videos with a table of spans, results with a truth, and strips of clips."""
    Path("videos").mkdir()
    rows = ["video,start,end,label"]
    for number in range(4):
        clip(f"videos/film{number}.mp4", 24)
        rows += [f"film{number},0.5,1.5,pour", f"film{number},2,3,stir"]
    Path("videos/annotations.csv").write_text("\n".join(rows) + "\n")
    clip("film.mp4", 24)
    spans = [{"segment": [0.5, 1.5], "label": "pour"}]
    truth = {"database": {"film": {"subset": "validation", "duration": 3.0, "annotations": spans}}}
    Path("activity_net.v1-3.min.json").write_text(json.dumps(truth))
    found = {"film": [{**spans[0], "score": 0.9}]}
    Path("mine.json").write_text(json.dumps({"version": "VERSION 1.3", "results": found, "external_data": {}}))
    Path("DATA/ucf101-6").mkdir(parents=True)
    Path("DATA/weizmann").mkdir()
    rng = np.random.default_rng(0)
    for group in (8, 17, 19):
        pixels = rng.integers(0, 256, (16 * 96, 128, 3), np.uint8)
        Image.fromarray(pixels).save(f"DATA/ucf101-6/v_Typing_g{group:02d}_c01.webp")
    for number in (0, 48, 56):
        pixels = rng.integers(0, 256, (20 * 64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(f"DATA/weizmann/bend_{number:08d}.webp")


def avatar() -> None:
    """DeepMimic's motions in an archive, and one of them beside it."""
    import tarfile

    turn = [1, 0, 0, 0]
    for name in ("kick", "dance_a", "dance_b", "walk"):
        frames = []
        for number in range(7):  # 0.3 s in which a knee is bent
            knee = -0.1 * number
            frames.append([0.05, 0, 0.9, 0, *turn * 4, knee, *turn * 2, 0, *turn, 0, *turn * 2, 0])
        Path(f"humanoid3d_{name}.txt").write_text(json.dumps({"Loop": "wrap", "Frames": frames}))
    with tarfile.open("deepmimic.tar.xz", "w:xz") as archive:
        for path in Path().glob("humanoid3d_*.txt"):
            archive.add(path)
    someone()


def someone() -> None:
    """Four videos of a rendered person, their calibration, and keypoints of COCO's form."""
    from percepta.datasets.keypoints import COCO
    from percepta.geometry import pose as poses
    from percepta.geometry.body import J
    from percepta.geometry.camera import project
    from percepta.systems.avatar.world import Rendered, subject
    from percepta.worlds.people.motions import made

    rendered = Rendered(subject("tight"), made("walk", 0.8, 5), (96, 120), 4)
    place = rendered.person.body.positions(rendered.motion)
    parts = {
        "shoulder": "upper_arm",
        "elbow": "forearm",
        "wrist": "hand",
        "hip": "thigh",
        "knee": "shin",
        "ankle": "foot",
    }
    joints = [(row, name.split("_")) for row, name in enumerate(COCO) if name.split("_")[-1] in parts]
    table = {}
    for number, camera in enumerate(rendered.cameras):
        back, rows, frames = poses.inverse(camera.world_from_camera), [], []
        for frame in rendered.frames:
            points = np.zeros((17, 3))
            for row, (side, part) in joints:
                at = poses.transform(back, place[frame, J[f"{side}_{parts[part]}"]][None])
                points[row] = (*project(at, camera.intrinsics)[0][0], 0.9)
            rows.append({"image_id": frame, "keypoints": points.ravel().tolist()})
            picture, mask = rendered.read(number, frame)
            frames.append(np.where(mask[..., None] > 127, picture, 128).astype(np.uint8))
        name = f"cam{number + 1:02d}"
        table[name] = {"K": camera.intrinsics.matrix.tolist(), "R": back[:3, :3].tolist(), "T": back[:3, 3].tolist()}
        Path("pose2sim/videos").mkdir(parents=True, exist_ok=True)
        video.write(Path(f"pose2sim/videos/{name}.mp4"), frames, 30)
        Path("keypoints").mkdir(exist_ok=True)
        Path(f"keypoints/{name}.json").write_text(json.dumps(rows))
    Path("pose2sim/calibration.json").write_text(json.dumps(table))


def driver() -> None:
    """A drive of three cameras, folders in the layout of AI City, and a bank that lacks one drive."""
    from percepta.nn.looks import Rows
    from percepta.systems.driver import PRESETS, bank, world

    views = ("Dashboard", "Rearview", "Right_side_window")
    for name in ("dashboard", "rear_view", "right_window"):
        clip(f"drive/{name}.mp4")
    for name in ("dashboard", "rear"):
        clip(f"{name}.mp4")
    ids = ["video_id,video_files1,video_files2,video_files3"]
    for folder, users in (("A1", range(1, 8)), ("A2", range(8, 9))):
        for user in users:
            names = [f"{view}_user_id_{user}_NoAudio_3.MP4" for view in views]
            rows = ["User ID,Filename,Camera View,Activity Type,Start Time,End Time,Label/Class ID,Appearance Block"]
            for view, name in zip(views, names, strict=True):
                clip(f"{folder}/user_id_{user}/{name}", 24)
                rows.append(f"{user},{name},{view},Drinking,0:01,0:02,1,No")
            Path(folder, f"user_id_{user}", f"user_id_{user}.csv").write_text("\n".join(rows) + "\n")
            if folder == "A2":
                ids.append(",".join(["1", *names]))
    Path("video_ids.csv").write_text("\n".join(ids) + "\n")
    Path("world").mkdir()
    config, rng = PRESETS["small"], np.random.default_rng(0)
    for number in range(7):  # drawing a drive takes seconds: the command goes on where it was stopped
        drive = world.drive(number, 0.05)
        n = len(np.arange(0, len(drive) / drive.fps, 1 / config.fps))
        for view in config.views:
            rows = Rows(rng.random((n, 3 * 1280), np.float32), rng.random((n, 12, 16), np.float32))
            bank.write_view(Path("world"), f"cabin{number:03d}", view, rows)


def readme() -> None:
    clip("clip.mp4")
    own_pictures("my-data")


def aesthetics() -> None:
    photographs("holidays", "beach.jpg", "dunes.jpg", "写真.png", "harbour.jpg")
    Path("holidays", "ratings.csv").write_text("file,score\nbeach.jpg,4.5\n写真.png,2\n", encoding="utf-8")


def distill() -> None:
    classes("pets", "cat", "dog")
    photographs("photos")
    photographs(".", "photo.jpg")


def refer() -> None:
    own_pictures("dogs")
    photographs("photos")
    photographs(".", "photo.jpg")


def index() -> None:
    home, summer = str(Path.home()), time.mktime((2023, 7, 1, 12, 0, 0, 0, 0, -1))
    photographs(f"{home}/Pictures")
    photographs(f"{home}/Pictures/old", "beach.jpg")
    photographs(".", "goal.jpg")
    for path in (f"{home}/Videos/2023/hurdles.mp4", "clip.mp4"):
        clip(path)
        os.utime(path, (summer, summer))


def online3d() -> None:
    from percepta.geometry import ply
    from percepta.systems.online3d import world

    recording("FOLDER", 6)
    Path("SCANS").mkdir()
    for seed, name in enumerate(("room_a", "room_b")):
        scan = world.synthetic(seed, 0.08, 6, 48)
        arrays = {"xyz": scan.xyz, "rgb": scan.rgb, "nyu40": scan.label, "instance": scan.instance}
        np.savez(f"SCANS/{name}.npz", **arrays)
    columns = {name: scan.xyz[:, i] for i, name in enumerate("xyz")}
    columns |= {name: scan.rgb[:, i] for i, name in enumerate(("red", "green", "blue"))}
    ply.write(Path("scan.ply"), columns)


def planes() -> None:
    recording("FOLDER", 5)
    recording("RECORDING", 24)


def slam() -> None:
    cv2 = pytest.importorskip("cv2", reason="slam needs OpenCV: pip install 'percepta[slam]'")
    from percepta.metrics import trajectory
    from percepta.systems.slam.world import RoundTrip
    from percepta.systems.slam.writers import PosedFolder

    trip = RoundTrip(0, "depth", 26, 240, 0.16)
    shots = list(trip)
    video.write("clip.mp4", [np.repeat(shot.frame[..., None], 3, 2) for shot in shots], 30)
    Path("walk", "pose").mkdir(parents=True)
    posed = PosedFolder(Path("walk"), trip.camera)
    for number, shot in enumerate(shots[:20]):
        posed.add(number, np.repeat(shot.frame[..., None], 3, 2), shot.depth_m)
        np.savetxt(Path("walk", "pose", f"{number:06d}.txt"), trip.path[number])
    for name in ("mine.txt", "truth.txt"):
        trajectory.write(Path(name), trajectory.trajectory(np.arange(26) / 30, trip.path))
    board = np.kron(np.indices((6, 8)).sum(0) % 2, np.ones((20, 20))).astype(np.float32)
    board = np.pad(20 + 215 * board, 20, constant_values=235)
    height, width = board.shape
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    rng, seen = np.random.default_rng(0), []
    for _ in range(12):  # tilted, and seen by a camera of 300 pixels focal length
        turn = cv2.Rodrigues(rng.uniform(-0.5, 0.5, 3))[0]
        xyz = np.c_[corners - corners.mean(0), np.zeros(4)] / 20 * 0.03 @ turn.T + (*rng.uniform(-0.03, 0.03, 2), 0.4)
        there = (300 * xyz[:, :2] / xyz[:, 2:] + (159.5, 119.5)).astype(np.float32)
        picture = cv2.warpPerspective(board, cv2.getPerspectiveTransform(corners, there), (320, 240), borderValue=130)
        seen += [np.repeat(picture.astype(np.uint8)[..., None], 3, 2)] * 5
    video.write("board.mp4", seen, 30)


def forecast() -> None:
    """Tracks as CSV with lanes beside them, and a scenario of Argoverse 2 with its map."""
    import pyarrow
    from pyarrow import parquet

    Path("recordings").mkdir()
    for path, steps in (("crossing.csv", 24), ("tracks.csv", 240), ("recordings/yard.csv", 60)):
        rows = [f"{t / 10:.1f},{k},{0.4 * k * t:.2f},{4 * k},vehicle" for t in range(steps) for k in (1, 2, 3)]
        Path(path).write_text("\n".join(["time,id,x,y,type", *rows]) + "\n")
    line = {"type": "LineString", "coordinates": [[-10, 4], [120, 4]]}
    lanes = {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": line}]}
    Path("crossing.geojson").write_text(json.dumps(lanes))
    columns: dict[str, list[Any]] = {}
    for agent, category in (("7", 3), ("AV", 1)):
        for t in range(110):
            row = {
                "observed": t < 50, "track_id": agent, "object_type": "vehicle", "object_category": category,
                "timestep": t, "position_x": 0.5 * t, "position_y": 4.0 * category, "heading": 0.0, "velocity_x": 5.0,
                "velocity_y": 0.0, "scenario_id": "s1", "focal_track_id": "7",
            }  # fmt: skip
            for key, value in row.items():
                columns.setdefault(key, []).append(value)
    Path("val/s1").mkdir(parents=True)
    parquet.write_table(pyarrow.table(columns), "val/s1/scenario_s1.parquet")
    sides = {
        f"{side}_lane_boundary": [{"x": x, "y": y, "z": 0.0} for x in (-10.0, 90.0)]
        for side, y in (("left", 14.0), ("right", 10.0))
    }
    lane = {"id": 5, "is_intersection": False, "lane_type": "VEHICLE", "predecessors": [], "successors": [], **sides}
    ground = {"lane_segments": {"5": lane}, "drivable_areas": {}, "pedestrian_crossings": {}}
    Path("val/s1/log_map_archive_s1.json").write_text(json.dumps(ground))


def supernet() -> None:
    from percepta.systems.supernet.space import ResNet48

    classes("DATA", "cat", "dog")
    space, rng = ResNet48(), np.random.default_rng(0)
    rows = {f"arch{number + 1}": {"acc": 0.0, "arch": space.sample(rng)} for number in range(1_000)}
    Path("test.json").write_text(json.dumps(rows), encoding="utf-8")
    known = {space.sample(rng): float(rng.random()) for _ in range(20)}
    Path("inherited.json").write_text(json.dumps(known), encoding="utf-8")


def vos() -> None:
    from percepta.datasets.videos import write_mask

    clip("clip.mp4")
    y, x = np.mgrid[:160, :160]
    for name in ("first", "later"):
        write_mask(Path(f"{name}.png"), ((y - 80) ** 2 + (x - 80) ** 2 < 1600).astype(np.uint8))
    for number, sample in enumerate(video.every_frame("clip.mp4")):
        Path("frames").mkdir(exist_ok=True)
        Image.fromarray(sample.frame).save(f"frames/{number}.jpg")
    for number, name in enumerate(("a", "b", "c", "e", "horse", "k")):
        for frame in range(4):
            for kind, tone, ground in (("JPEGImages", (220, 60, 30), (90, 110, 100)), ("Annotations", 255, 0)):
                picture = Image.new("RGB" if kind == "JPEGImages" else "L", (96, 64), ground)
                picture.paste(tone, (10 + 8 * frame, 8 + 4 * number, 40 + 8 * frame, 40 + 4 * number))
                path = Path("videos", kind, name, f"{frame:05d}.{'jpg' if kind == 'JPEGImages' else 'png'}")
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)


def weather() -> None:
    from PIL import ImageDraw

    clip("drive.mp4", 10)
    rng = np.random.default_rng(0)
    for folder in ("mine", "both/mine"):
        Path(folder).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 120, (48, 64, 3), np.uint8)).save(f"{folder}/{number}.jpg")
    Image.open("mine/0.jpg").save("street.jpg")
    for part, count in (("train", 3), ("val", 1)):
        for kind in ("images", "labels"):
            Path("both/camvid", part, kind).mkdir(parents=True)
        for number in range(count):
            name = f"0006R0_f{number:05d}.png"
            Image.fromarray(rng.integers(0, 255, (96, 128, 3), np.uint8)).save(f"both/camvid/{part}/images/{name}")
            labels = Image.new("L", (128, 96), 0)
            ImageDraw.Draw(labels).rectangle((0, 50, 127, 95), 3)
            labels.save(f"both/camvid/{part}/labels/{name}")
    folder = Path("acdc/rgb_anon/fog/test/GOPR0475")
    folder.mkdir(parents=True)
    Image.fromarray(rng.integers(100, 255, (48, 64, 3), np.uint8)).save(folder / "GOPR0475_frame_000001_rgb_anon.png")


def soccer() -> None:
    """Videos of two halves, games in SoccerNet's layout with features, and games of one's own with labels."""
    from percepta.worlds.pitch import recording
    from percepta.worlds.pitch.drawing import draw

    half = recording.halves(recording.FIRST["test"] + 900, 60.0)[0]
    for name, start_s in (("half1", 20), ("half2", 0)):
        video.write(f"{name}.mp4", (draw(half, start_s + i / 4, 128, 224) for i in range(80)), 4)
    rng = np.random.default_rng(0)
    for name in ("train/a", "val/b", "test/c"):
        folder = Path("soccernet", name)
        folder.mkdir(parents=True)
        moments = [(number, s, label) for number in (1, 2) for s, label in ((40, "Corner"), (150, "Goal"))]
        clock = lambda s: f"{s // 60:02d}:{s % 60:02d}"  # noqa: E731
        actions: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        for number, s, label in moments:  # a replay of six seconds, twelve seconds after each
            actions.append({"gameTime": f"{number} - {clock(s)}", "label": label})
            link = {"half": str(number), "time": clock(s), "label": label}
            for after, more in ((12, {}), (18, {"replay": "replay", "link": link})):
                changes.append({"gameTime": f"{number} - {clock(s + after)}", **more})
            np.save(folder / f"{number}_ResNET_TF2_PCA512.npy", rng.random((400, 512), np.float32))
        for file, rows in (("Labels-v2", actions), ("Labels-cameras", changes)):
            content = {"UrlLocal": name, "annotations": rows}
            (folder / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    for name in ("train/derby", "val/final"):
        folder = Path("games", name)
        folder.mkdir(parents=True)
        rows = [f"{number},0:{s:02d},{label}" for number in (1, 2) for s, label in ((4, "Foul"), (13, "Corner"))]
        (folder / "labels.csv").write_text("\n".join(["half,time_s,label", *rows]) + "\n", encoding="utf-8")
        if name == "val/final":  # those of the derby are made by a command
            for number in (1, 2):
                np.save(folder / f"{number}_lite0.npy", rng.random((40, 1792), np.float32).astype(np.float16))


def spotting() -> None:
    from percepta.datasets import soccer_results

    soccer()
    soccer_results.write("results.zip", {"train/a": [soccer_results.Spot(1, 40.5, "Corner", 0.9)]})


def replay() -> None:
    from percepta.datasets import soccer_results

    soccer()
    found = [soccer_results.Grounded(1, 52.0, 58.0, (40.5, 20.0), (0.9, 0.1))]
    soccer_results.write_groundings("results.zip", {"train/a": (found, (200.0, 200.0))})


def scaled() -> None:
    clip("videos/clip.mp4")
    photographs(".", "photo.jpg")


HAS: dict[str, Callable[[], None]] = {
    "README.md": readme,
    "actions.md": actions,
    "aesthetics-your-album.md": aesthetics,
    "avatar.md": avatar,
    "distill.md": distill,
    "driver.md": driver,
    "forecast.md": forecast,
    "index-your-videos.md": index,
    "online3d.md": online3d,
    "planes.md": planes,
    "predict.md": lambda: clip("clip.mp4"),
    "refer-your-data.md": refer,
    "replay.md": replay,
    "scale.md": scaled,
    "slam.md": slam,
    "spotting.md": spotting,
    "supernet.md": supernet,
    "vos.md": vos,
    "weather.md": weather,
}


# --------------------------------------------------------------------------------------------------------- it runs


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a reader who has a home of their own, no screen and a video in the camera's place."""
    from percepta.web import local

    folder, home = tmp_path / "here", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(training, "keep_memory", lambda: True)  # is for a process that only trains
    monkeypatch.setattr(local, "serve", visit)
    monkeypatch.setattr(video, "check_camera", lambda name: None)
    monkeypatch.setattr(video, "_camera", lambda name: video.every_frame(Path("clip.mp4")))
    monkeypatch.setattr(Image.Image, "show", lambda picture: picture.load())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


def visit(web: Any, port: int = 0, open_browser: bool = True, on_ready: Callable[[str], None] | None = None) -> None:
    """In the place of a server that runs until Ctrl-C: says where it is, and one browser comes once."""
    from fastapi.testclient import TestClient

    url = "http://127.0.0.1:8765"
    if on_ready:
        on_ready(url)
    client = TestClient(web, base_url=url)
    assert client.get("/").status_code == 200
    if client.get("/answer").status_code == 200:  # the live page: wait until a picture has come
        while not (told := client.get("/answer").json())["number"] and not told["error"]:
            time.sleep(0.01)
        assert told["texts"], told["error"]


def cut(line: str) -> list[str]:
    """The words of a command, with ~ expanded, made short where CUTS says so."""
    words = [os.path.expanduser(word) if word.startswith("~") else word for word in shlex.split(line)]  # noqa: PTH111
    for start, options in CUTS:
        if line.startswith(start):
            for option in re.findall(r"--[^-]\S*(?: (?!--)\S+)+", options):
                put = option.split()
                place = words.index(put[0]) if put[0] in words else len(words)
                words[place : place + len(put)] = put
    return words


def run(page: str, line: str) -> None:
    """Runs one command of a page, as far as it is one of ours; it has to end well."""
    if line.startswith("percepta ") and (page, line) not in NOT_RUN:
        assert cli.main(cut(line)[1:]) == 0, f"{page}: {line}"


def alike(shown: str, printed: str) -> bool:
    """Whether a text is what was printed, but for a few percent of its numbers: other machines round otherwise."""
    number = re.compile(r"\d+(?:\.\d+)?")
    near = zip(map(float, number.findall(shown)), map(float, number.findall(printed)), strict=False)
    same = number.sub("#", shown.strip()) == number.sub("#", printed.strip())
    return same and all(abs(a - b) <= max(2.0, 0.03 * a) for a, b in near)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_top_to_bottom(
    page: str, reader: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi", reason="pages are served with fastapi: pip install 'percepta[web]'")
    pytest.importorskip("httpx2", reason="the test client needs httpx2: pip install 'percepta[dev]'")
    if page == "new-system.md":
        request.getfixturevalue("tint")
    HAS.get(page, lambda: None)()
    names: dict[str, Any] = {"__name__": "page"}
    capsys.readouterr()
    for block in blocks(PAGES[page].read_text(encoding="utf-8")):
        if block.language == "sh":
            capsys.readouterr()
            for line in commands(block):
                run(page, line)
        elif block.language == "python" and page not in ELSEWHERE:
            capsys.readouterr()
            # Empty lines before it: a traceback then names the line of the page.
            exec(compile("\n" * (block.line - 1) + block.text, str(PAGES[page]), "exec"), names)
        elif block.language == "text":  # what the block before it prints
            printed = capsys.readouterr().out
            assert alike(block.text, printed), f"{page}:{block.line} shows\n{block.text}but it is\n{printed}"


def test_the_form_of_predictions_is_as_described(reader: Path) -> None:
    text = PAGES["predict.md"].read_text(encoding="utf-8")
    (shown,) = (json.loads(block.text) for block in blocks(text) if block.language == "json")
    rows = dict(re.findall(r"^\| `(refer|distill|hashing)` \| (.*) \|$", text, re.MULTILINE))
    for system, row in rows.items():
        words = [] if system == "distill" else ["the cat"]
        assert cli.main(["predict", system, "sample:cat", *words, "--out", system]) == 0
        written = json.loads(Path(system, "predictions.json").read_text(encoding="utf-8"))
        assert list(written) == list(shown) and written["version"] == shown["version"]
        common = {key for key in shown["predictions"][0] if key != "..."} | {"weights"}
        assert set(re.findall(r"`(\w+)`", row)) == set(written["predictions"][0]) - common, system
    assert set(rows) == {"refer", "distill", "hashing"} and not set(rows) & set(SHORT)
