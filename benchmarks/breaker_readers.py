"""Every reader of a user's files with a small good input, and ways to spoil it. `breaker.py` and a test use it.

A reader may do two things with a spoiled file: read it, or raise `percepta.InputError` that names the file. Anything
else (another exception, more than some seconds, a crash of the process) is a fault of ours.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
import random
import signal
import struct
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save as to_safetensors

from percepta import checkpoint, pretrained, runs
from percepta.datasets import (
    album,
    captioned,
    ccp,
    cifar,
    class_folder,
    coco,
    coco_small,
    colmap,
    davis,
    didemo,
    flickr8k,
    flickr_aes,
    folder,
    kitti_odometry,
    msrvtt,
    msvd,
    nasbench,
    oasis,
    para,
    plane_annotations,
    posed,
    posed_folder,
    refcoco,
    scannet,
    scannet_frames,
    scenenn,
    seven_scenes,
    tum_rgbd,
)  # fmt: skip
from percepta.datasets.posed import Recording
from percepta.datasets.scene import Scene
from percepta.datasets.studies import OASIS_FIELDS
from percepta.errors import InputError
from percepta.geometry import ply
from percepta.geometry import pose as poses
from percepta.media import image, video
from percepta.metrics import trajectory
from percepta.report import read_log
from percepta.systems.hashing.index import Entry, Index, Writer
from percepta.systems.online3d.cloud import open_cloud
from percepta.systems.online3d.stream import read_state, write_state
from percepta.systems.planes.kept import KeptPairs
from percepta.systems.planes.pairs import MAX_TRUE_PLANES
from percepta.systems.supernet import challenge, space

H, W = 24, 32
SECONDS = 20  # without an answer: a hang
TRIED: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e308, -1e308, 10**18, 10**30, "", "x", "1", [], {}, [None], {"a": [1]}, float("nan"),
    [[1, 2, 3]], "../x", "a\0b", "é" * 300,
)  # fmt: skip
WORDS = ("-1", "0", "nan", "1.#QNAN", "inf", "1e999", "9" * 400, "x", "", '"', "\0", "\u2028", "é", "1,5", "-0", "a b")


# ------------------------------------------------------------------------------------------------------ spoiling


def spoil(data: bytes, kind: str, rng: random.Random) -> bytes:
    """One change of a file, by what the file is: "json", "text", "pickle", or bytes."""
    draw = rng.random()
    if kind == "json" and draw < 0.7:
        return json.dumps(spoil_tree(json.loads(data.decode("utf-8-sig")), rng)).encode()
    if kind == "pickle" and draw < 0.5:
        return pickle.dumps(spoil_tree(pickle.loads(data), rng), protocol=rng.choice([0, 2, 4]))
    if kind == "text" and draw < 0.75:
        return spoil_text(data.decode("utf-8"), rng).encode()
    return spoil_bytes(data, rng)


def spoil_tree(tree: Any, rng: random.Random) -> Any:
    """A copy of nested lists and dicts in which one value is another, gone, or twice there."""
    places = list(_places(tree))
    if not places or rng.random() < 0.02:
        return rng.choice(TRIED)
    path = rng.choice(places)
    copy = json.loads(json.dumps(tree)) if _plain(tree) else pickle.loads(pickle.dumps(tree))
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    how = rng.random()
    if how < 0.2:
        del inside[path[-1]]
    elif how < 0.3 and isinstance(inside, list):
        inside.insert(path[-1], inside[path[-1]])
    else:
        inside[path[-1]] = rng.choice(TRIED)
    return copy


def _plain(tree: Any) -> bool:
    try:
        json.dumps(tree)
    except (TypeError, ValueError):
        return False
    return True


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


def spoil_text(text: str, rng: random.Random) -> str:
    """A word, a line or a line's end is another."""
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    how = rng.randrange(6)
    if how == 0:
        del lines[place]
    elif how == 1:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif how == 2:
        lines[place] = rng.choice(WORDS)
    else:
        mark = next((mark for mark in (",", "\t", " ") if mark in lines[place]), " ")
        words = lines[place].split(mark)
        words[rng.randrange(len(words))] = rng.choice(WORDS)
        lines[place] = mark.join(words)
    return rng.choice(["\n", "\n", "\n", "\r\n", "\r"]).join(lines)


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes are cut off, others, gone, or twice there."""
    out = bytearray(data)
    how = rng.randrange(7)
    place = rng.randrange(max(1, len(out)))
    if how == 0:
        return bytes(out[:place])
    if how == 1:  # most that is read in numbers stands at the beginning
        place = rng.randrange(max(1, min(len(out), 200)))
    if how in (1, 2):
        for _ in range(rng.randrange(1, 5)):
            if out:
                out[min(place + rng.randrange(8), len(out) - 1)] = rng.choice(
                    [0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)]
                )
    elif how == 3:
        del out[place : place + rng.randrange(1, 40)]
    elif how == 4:
        out[place:place] = rng.randbytes(rng.randrange(1, 40))
    elif how == 5:
        out[place : place + 8] = struct.pack(rng.choice("<>") + "q", rng.choice([-1, 2**31 - 1, 2**63 - 1, 2**40, 0]))
    else:
        out[place:place] = out[place : place + rng.randrange(1, 200)]
    return bytes(out)


# ------------------------------------------------------------------------------------------------------- readers


@dataclass(frozen=True)
class Reader:
    """A reader with its good input.

    Attributes:
        name: of the reader.
        make: writes the input into an empty folder.
        read: reads all of it.
        files: {file, from the folder: how it is spoiled}; a function gets (bytes, rng).
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    files: dict[str, str | Callable[[bytes, random.Random], bytes]]


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def table(path: Path, *rows: tuple[Any, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def picture(path: Path, value: int = 90, size: tuple[int, int] = (W, H)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 80, 30)).save(path)


def grey(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def mask(path: Path) -> None:
    values = np.zeros((H, W), np.uint8)
    values[5:15, 5:20] = 1
    grey(path, values)


def film(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(12)]
    video.write(path, frames, 10)


def both(read: Callable[..., Any]) -> Callable[[Path], object]:
    """Reads a set with and without a list of problems; of scenes also the masks."""

    def run(root: Path) -> object:
        found = read(root, [])
        strict = read(root)
        for scene in found if isinstance(found, list) else ():
            if isinstance(scene, Scene):
                for region in scene.regions:
                    region.mask.read()
        return strict

    return run


def frames(read: Callable[..., Recording]) -> Callable[[Path], object]:
    """Reads a recording, its frames, and what `check` says about it."""

    def run(root: Path) -> object:
        posed.check(read(root, problems=[]), stride=1)
        list(read(root, problems=[]).frames())
        return list(read(root).frames(skip_untracked=False))

    return run


def trees() -> list[Reader]:
    """All readers."""
    return [*_scenes(), *_clips(), *_studies(), *_classes(), *_recordings(), *_scans(), *_media(), *_states()]


def _scenes() -> list[Reader]:
    corners = [5, 5, 20, 5, 20, 15]
    entries = [{"id": i, "file_name": f"{i}.png", "height": H, "width": W} for i in range(3)]
    lengths = {"size": [H, W], "counts": [100, 50, H * W - 150]}
    marks = [
        {
            "id": i,
            "image_id": i,
            "category_id": 1 + i % 2,
            "iscrowd": 0,
            "segmentation": lengths if i == 2 else [corners],
        }
        for i in range(3)
    ]
    instances = {
        "images": entries,
        "annotations": marks,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    refs = [
        {"ref_id": i, "ann_id": i, "image_id": i, "split": "train", "sentences": [{"sent": f"thing {i}"}]}
        for i in range(3)
    ]

    def make_coco(root: Path) -> None:
        (root / "instances.json").write_text(json.dumps(instances))
        for i in range(3):
            picture(root / f"{i}.png")

    def make_refs(root: Path) -> None:
        (root / "refcoco").mkdir()
        (root / "refcoco" / "instances.json").write_text(json.dumps(instances))
        (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
        for i in range(3):
            picture(root / "images" / f"{i}.png")

    def make_prepared(root: Path) -> None:
        rows = [{"segment_id": i, "img_name": f"{i}.png", "sentences": [{"sent": "a thing"}]} for i in range(3)]
        (root / "anns" / "refcoco").mkdir(parents=True)
        (root / "anns" / "refcoco" / "train.json").write_text(json.dumps(rows))
        for i in range(3):
            mask(root / "masks" / "refcoco" / f"{i}.png")
            picture(root / "images" / f"{i}.png")

    def make_folder(root: Path) -> None:
        text(root / "sentences.csv", "image,sentence,mask,value", "a.png,the thing,,", "a.png,again,a.png,1")
        picture(root / "images" / "a.png")
        mask(root / "masks" / "a.png")

    def make_davis(root: Path) -> None:
        for i in range(2):
            picture(root / "JPEGImages" / "dog" / f"{i}.png")
            mask(root / "Annotations" / "dog" / f"{i}.png")
        text(root / "expressions.csv", "video,expression", "dog,a dog", "dog,the dog")
        text(root / "ImageSets" / "train.txt", "dog", "cat")

    def make_small(root: Path) -> None:
        objects = [{"id": 1, "category": "dog", "iscrowd": 0}, {"category": "cat", "iscrowd": 1}]
        content = {str(i): {"width": W, "height": H, "objects": objects, "captions": ["a dog"]} for i in range(2)}
        (root / "objects.json").write_text(json.dumps(content))
        for i in range(2):
            picture(root / "images" / f"{i}.webp")
            mask(root / "instances" / f"{i}.png")

    def make_ccp(root: Path) -> None:
        text(root / "labels.txt", "null", "shirt")
        picture(root / "images" / "1.jpg")
        mask(root / "masks" / "1.png")

    def make_flickr(root: Path) -> None:
        text(root / "captions.csv", "image,caption", "a.jpg,a dog", 'a.jpg,"a dog, again"')
        text(root / "foreground" / "quality.csv", "stem,area,unsure", "a,0.3,0.01")
        picture(root / "images" / "a.jpg")
        mask(root / "foreground" / "a.png")
        mask(root / "voc21-pseudo" / "a.png")

    def small(root: Path) -> object:
        both(coco_small.clips)(root)
        return both(coco_small.read)(root)

    def flickr(root: Path) -> object:
        both(flickr8k.clips)(root)
        return both(flickr8k.read)(root)

    return [
        Reader("coco", make_coco, both(coco.read), {"instances.json": "json"}),
        Reader(
            "refcoco", make_refs, both(refcoco.read),
            {"refcoco/refs(unc).p": "pickle", "refcoco/instances.json": "json"},
        ),
        Reader("refcoco, prepared", make_prepared, both(refcoco.read), {"anns/refcoco/train.json": "json"}),
        Reader("folder", make_folder, both(folder.read), {"sentences.csv": "text", "masks/a.png": "bytes"}),
        Reader("davis", make_davis, both(davis.read), {"expressions.csv": "text", "ImageSets/train.txt": "text"}),
        Reader("coco, small", make_small, small, {"objects.json": "json"}),
        Reader("ccp", make_ccp, both(ccp.read), {"labels.txt": "text", "masks/1.png": "bytes"}),
        Reader(
            "flickr8k", make_flickr, flickr,
            {"captions.csv": "text", "foreground/quality.csv": "text", "voc21-pseudo/a.png": "bytes"},
        ),
    ]  # fmt: skip


def _clips() -> list[Reader]:
    def make_captioned(root: Path) -> None:
        text(root / "captions.csv", "video,caption,start_s,end_s", "a.mp4,a dog,0,1", "b,a cat,,")
        (root / "a.mp4").write_bytes(b"not read")
        picture(root / "b" / "1.png")

    def make_msrvtt(root: Path) -> None:
        videos = [{"video_id": f"video{i}", "split": s} for i, s in enumerate(("train", "validate", "test"))]
        sentences = [{"video_id": f"video{i}", "caption": f"thing {i}", "sen_id": i} for i in range(3)]
        (root / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
        text(root / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", "r0,m0,video2,a thing")
        text(root / "MSRVTT_train.9k.csv", "video_id", "video0")
        for i in range(3):
            (root / f"video{i}.mp4").write_bytes(b"not read")

    def make_msvd(root: Path) -> None:
        text(root / "AllVideoDescriptions.txt", "# comment", "", "v0 a dog runs", "v1 a cat", "v2 a bird")
        for i, split in enumerate(("train", "val", "test")):
            text(root / f"{split}_list.txt", f"v{i}")
            (root / f"v{i}.avi").write_bytes(b"not read")

    def make_didemo(root: Path) -> None:
        rows = [{"annotation_id": i, "video": "v.mp4", "description": "a dog", "times": [[0, 1]] * 4} for i in range(2)]
        for split in ("train", "val", "test"):
            (root / f"{split}_data.json").write_text(json.dumps(rows))
        (root / "v.mp4").write_bytes(b"not read")

    return [
        Reader("captioned", make_captioned, both(captioned.read), {"captions.csv": "text"}),
        Reader(
            "msrvtt", make_msrvtt, both(msrvtt.read),
            {"MSRVTT_data.json": "json", "MSRVTT_JSFUSION_test.csv": "text", "MSRVTT_train.9k.csv": "text"},
        ),
        Reader("msvd", make_msvd, both(msvd.read), {"AllVideoDescriptions.txt": "text", "val_list.txt": "text"}),
        Reader("didemo", make_didemo, both(didemo.read), {"val_data.json": "json"}),
    ]  # fmt: skip


def _studies() -> list[Reader]:
    def make_oasis(root: Path) -> None:
        text(root / "raters.csv", "rater,age,gender,education,mood_1,TEPS_ant,TEPS_con", "1,30,1,4,50,4,4", "2,,2,,,,")
        text(root / "images.csv", "item,file,theme,caption", "1,a.jpg,Dog 1,A dog.", "2,b.jpg,Dog 2,A dog.")
        text(root / "ratings.csv", "rater,item,score", "1,1,5", "2,2,7", "1,2,3")
        for name in "ab":
            picture(root / "images" / f"{name}.jpg")

    def make_para(root: Path) -> None:
        fields = ("age", "gender", "EducationalLevel", "artExperience", "photographyExperience")
        traits = tuple(f"personality-{letter}" for letter in "EANOC")
        here = root / "annotation"
        table(here / "PARA-UserInfo.csv", ("userId", *fields, *traits),
              ("u1", "22-25", "female", "university", "beginner", "expert", 1, 2, 3, 4, 5))  # fmt: skip
        names = ("sessionId", "imageName", "userId", "aestheticScore", *para.ATTRIBUTES, "semantic", "imgEmotion",
                 "isObjectEmphasis", "difficultyOfJudgment")  # fmt: skip
        table(here / "PARA-Images.csv", names, ("s1", "a.jpg", "u1", 3.5, *[3] * 8, "animal", "joy", 0, -1))
        table(here / "PARA-GiaaTrain.csv", ("sessionId", "imageName", "aestheticScore_mean"), ("s1", "a.jpg", 3.2))

    def make_aes(root: Path) -> None:
        text(root / flickr_aes.TABLE, " worker, imagePair, score", "A,a.jpg,5", "B,a.jpg,1")
        text(root / flickr_aes.SCORES, "a.jpg 0.5")
        picture(root / "40K" / "a.jpg")

    def make_album(root: Path) -> None:
        text(root / "ratings.csv", "file,score", "a.jpg,4", "b.jpg,3.5")
        (root / "profile.json").write_text(json.dumps({"age": 34, "gender": "female", "mood": None}))
        for name in "ab":
            picture(root / f"{name}.jpg")

    def read_album(root: Path) -> object:
        album.study(root, [], [], fields=OASIS_FIELDS)
        return album.study(root, fields=OASIS_FIELDS)

    def read_oasis(root: Path) -> object:
        both(oasis.clips)(root)
        both(oasis.read)(root)
        return both(oasis.study)(root)

    return [
        Reader("oasis", make_oasis, read_oasis, dict.fromkeys(("raters.csv", "images.csv", "ratings.csv"), "text")),
        Reader(
            "para", make_para, both(para.study),
            {f"annotation/PARA-{name}.csv": "text" for name in ("Images", "UserInfo", "GiaaTrain")},
        ),
        Reader("flickr-aes", make_aes, both(flickr_aes.study), {flickr_aes.TABLE: "text", flickr_aes.SCORES: "text"}),
        Reader("album", make_album, read_album, {"ratings.csv": "text", "profile.json": "json"}),
    ]  # fmt: skip


def _classes() -> list[Reader]:
    def make_binary(root: Path) -> None:
        text(root / "batches.meta.txt", "cat", "dog")
        for name in (*cifar.TRAIN, "test_batch"):
            (root / f"{name}.bin").write_bytes((b"\1" + bytes(cifar.PIXELS)) * 2)

    def make_python(root: Path) -> None:
        content = {b"data": np.zeros((2, cifar.PIXELS), np.uint8), b"labels": [0, 1], b"filenames": [b"a", b"b"]}
        for name in (*cifar.TRAIN, "test_batch"):
            (root / name).write_bytes(pickle.dumps(content, protocol=2))
        (root / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"cat", b"dog"]}, protocol=2))

    def make_folders(root: Path) -> None:
        for name in ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png", "val/dog/1.png"):
            picture(root / name)

    def read_cifar(root: Path) -> object:
        return cifar.read(root, "train"), cifar.read(root, "test")

    def read_folders(root: Path) -> object:
        found = class_folder.classified(root, [], [])
        part = found.part("train")
        part.read(np.arange(len(part)), 8, [])
        return part.pixels(np.arange(len(part)), 8)

    def make_macro(root: Path) -> None:
        entry = {"test_acc": [93.0, 92.5], "params": 100, "flops": 200, "mean_acc": 92.75}
        (root / nasbench.TABLE).write_text(json.dumps({"01": entry, "12": entry}))

    def make_cells(root: Path) -> None:
        cell = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|skip_connect~2|"
        table(
            root / "cells.csv", (*nasbench.SETS.values(), "ArchitectureString", "UniqueString"), (90, 50, 30, cell, "x")
        )

    def make_challenge(root: Path) -> None:
        code = space.ResNet48().sample(np.random.default_rng(0))
        (root / "c.json").write_text(json.dumps({"arch1": {"acc": 0.0, "arch": code}}))

    return [
        Reader("cifar, binary", make_binary, read_cifar, {"batches.meta.txt": "text", "test_batch.bin": "bytes"}),
        Reader("cifar, python", make_python, read_cifar, {"batches.meta": "pickle", "test_batch": "pickle"}),
        Reader("class folders", make_folders, read_folders, {"train/dog/1.png": "bytes"}),
        Reader("nas-bench-macro", make_macro, nasbench.read_macro, {nasbench.TABLE: "json"}),
        Reader("nas-bench-201", make_cells, lambda r: nasbench.read_cells(r / "cells.csv"), {"cells.csv": "text"}),
        Reader("challenge", make_challenge, lambda r: challenge.read(r / "c.json"), {"c.json": "json"}),
    ]


def _pose(i: int) -> np.ndarray:
    return poses.look_at((0.02 * i, 0.0, 1.5), (2.0, 0.1 * i, 1.0))


def _recordings() -> list[Reader]:
    k = np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
    depth = np.full((H, W), 1500, np.uint16)

    def matrix(path: Path, values: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, values)

    def make_posed(root: Path) -> None:
        for i in range(4):
            picture(root / "color" / f"{i}.png", 40 * i)
            grey(root / "depth" / f"{i}.png", depth)
            matrix(root / "pose" / f"{i}.txt", _pose(i))
        matrix(root / "intrinsics.txt", k)

    def make_seven(root: Path) -> None:
        for i in range(3):
            picture(root / f"frame-{i:06d}.color.png", 40 * i)
            grey(root / f"frame-{i:06d}.depth.png", depth)
            matrix(root / f"frame-{i:06d}.pose.txt", _pose(i))
        whole = np.eye(4)
        whole[:3, :3] = k
        row = " ".join(map(str, whole.ravel()))
        text(root / "info.txt", "m_versionNumber = 4", "m_depthShift = 1000", f"m_calibrationColorIntrinsic = {row}",
             f"m_calibrationDepthIntrinsic = {row}")  # fmt: skip

    def make_scenenn(root: Path) -> None:
        rows = []
        for i in range(3):
            picture(root / "image" / f"image{i + 1:05d}.png", 40 * i)
            grey(root / "depth" / f"depth{i + 1:05d}.png", depth)
            rows += [f"{i} {i} {i + 1}", *(" ".join(map(str, row)) for row in _pose(i))]
        text(root / "trajectory.log", *rows)

    def make_frames(root: Path) -> None:
        make_posed(root)
        whole = np.eye(4)
        whole[:3, :3] = k
        for kind in ("color", "depth"):
            matrix(root / "intrinsic" / f"intrinsic_{kind}.txt", whole)

    def make_tum(root: Path) -> None:
        for i in range(3):
            picture(root / "rgb" / f"{i}.png", 40 * i)
            grey(root / "depth" / f"{i}.png", depth)
        for name in ("rgb", "depth"):
            text(root / f"{name}.txt", "# comment", *(f"{i}.0 {name}/{i}.png" for i in range(3)))
        text(root / "groundtruth.txt", *(f"{i}.0 {0.02 * i} 0 1 0 0 0 1" for i in range(3)))

    def make_kitti(root: Path) -> None:
        for i in range(3):
            picture(root / "image_0" / f"{i:06d}.png", 40 * i)
            picture(root / "image_1" / f"{i:06d}.png", 40 * i)
        row = "30 0 15.5 {} 0 30 11.5 0 0 0 1 0"
        text(root / "calib.txt", "P0: " + row.format(0), "P1: " + row.format(-15))
        text(root / "times.txt", "0", "0.1", "0.2")
        text(root / "poses.txt", *("1 0 0 0 0 1 0 0 0 0 1 " + str(i) for i in range(3)))

    def colmap_rows() -> list[tuple[int, list[float], str]]:
        return [(i, [1.0, 0, 0, 0, 0.1 * i, 0, 0], f"{i}.png") for i in range(1, 4)]

    def make_colmap(root: Path) -> None:
        for i, _, name in colmap_rows():
            picture(root / "images" / name, 40 * i)
        text(root / "sparse" / "cameras.txt", "# cameras", f"1 SIMPLE_RADIAL {W} {H} 30 16 12 0.01")
        lines = [f"{i} {' '.join(map(str, values))} 1 {name}" for i, values, name in colmap_rows()]
        text(root / "sparse" / "images.txt", lines[0], "1.0 2.0 -1", lines[1], "", lines[2], "")

    def make_colmap_bin(root: Path) -> None:
        for i, _, name in colmap_rows():
            picture(root / "images" / name, 40 * i)
        (root / "sparse").mkdir()
        (root / "sparse" / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 2, W, H, 30, 16, 12, 0.01))
        body = struct.pack("<Q", 3)
        for i, values, name in colmap_rows():
            body += struct.pack("<i7di", i, *values, 1) + name.encode() + b"\0" + struct.pack("<Qddq", 1, 1.0, 2.0, -1)
        (root / "sparse" / "images.bin").write_bytes(body)

    def views(read: Callable[..., Any]) -> Callable[[Path], object]:
        def run(root: Path) -> object:
            for view in read(root, []):
                view.read()
            return read(root)

        return run

    def make_planes(root: Path) -> None:
        whole = np.eye(4)
        whole[:3, :3] = k
        for kind in ("color", "depth"):
            matrix(root / "frames" / "intrinsic" / f"intrinsic_{kind}.txt", whole)
        for i in range(2):
            picture(root / "frames" / "color" / f"{i}.jpg", 40 + 40 * i)
            grey(root / "frames" / "depth" / f"{i}.png", depth)
            matrix(root / "frames" / "pose" / f"{i}.txt", _pose(i))
            index = plane_annotations.encode(np.zeros((H, W), np.int32))
            grey(root / "annotation" / "segmentation" / f"{i}.png", index)
            grey(root / "label-filt" / f"{i}.png", np.full((H, W), 7, np.uint16))
        np.save(root / "annotation" / "planes.npy", np.array([[0.0, 0, 1.0]]))
        text(root / "scannetv2-labels.combined.tsv", "id\traw_category\tnyu40id", "7\tdoor\t8", "8\twall\t1")

    def read_planes(root: Path) -> object:
        for scene in plane_annotations.scenes(root):
            for one, _ in scene.pairs((0.01, 1.0), problems=[]):
                scene.frame(one, (W, H))
        return None

    def read_posed(root: Path) -> object:
        views(posed_folder.read)(root)
        return frames(posed.folder)(root)

    def make_tracks(root: Path) -> None:
        text(root / "tum.txt", *(f"{i}.0 0 0 {i} 0 0 0 1" for i in range(3)))
        text(root / "kitti.txt", *("1 0 0 0 0 1 0 0 0 0 1 " + str(i) for i in range(3)))
        text(root / "euroc.csv", "#timestamp", *(f"{i}000000000,0,0,{i},1,0,0,0" for i in range(3)))

    def read_tracks(root: Path) -> object:
        return [trajectory.read(root / name) for name in ("tum.txt", "kitti.txt", "euroc.csv")]

    return [
        Reader(
            "posed folder", make_posed, read_posed,
            {"pose/1.txt": "text", "intrinsics.txt": "text", "depth/1.png": "bytes", "color/1.png": "bytes"},
        ),
        Reader(
            "7-scenes", make_seven, frames(seven_scenes.read), {"info.txt": "text", "frame-000001.pose.txt": "text"}
        ),
        Reader("scenenn", make_scenenn, frames(scenenn.read), {"trajectory.log": "text"}),
        Reader("scannet frames", make_frames, frames(scannet_frames.read), {"intrinsic/intrinsic_depth.txt": "text"}),
        Reader("tum", make_tum, frames(tum_rgbd.read), {"rgb.txt": "text", "groundtruth.txt": "text"}),
        Reader(
            "kitti", make_kitti, lambda root: list(kitti_odometry.read(root)),
            {"calib.txt": "text", "times.txt": "text", "poses.txt": "text", "image_0/000001.png": "bytes"},
        ),
        Reader(
            "colmap, text", make_colmap, views(colmap.views),
            {"sparse/cameras.txt": "text", "sparse/images.txt": "text"},
        ),
        Reader(
            "colmap, binary", make_colmap_bin, views(colmap.views),
            {"sparse/cameras.bin": "bytes", "sparse/images.bin": "bytes"},
        ),
        Reader(
            "plane annotations", make_planes, read_planes,
            {
                "annotation/planes.npy": "bytes", "scannetv2-labels.combined.tsv": "text", "label-filt/0.png": "bytes",
                "annotation/segmentation/0.png": "bytes", "frames/pose/0.txt": "text",
            },
        ),
        Reader("trajectories", make_tracks, read_tracks, dict.fromkeys(("tum.txt", "kitti.txt", "euroc.csv"), "text")),
    ]  # fmt: skip


def _scans() -> list[Reader]:
    rng = np.random.default_rng(0)
    xyz, rgb = rng.normal(size=(9, 3)).astype(np.float32), rng.integers(0, 255, (9, 3), np.uint8)
    columns = {n: xyz[:, i] for i, n in enumerate("xyz")} | {
        n: rgb[:, i] for i, n in enumerate(("red", "green", "blue"))
    }
    triangles = np.array([[0, 1, 2], [3, 4, 5]])

    def make_scan(root: Path) -> None:
        ply.write(root / "s_vh_clean_2.ply", columns, triangles)
        ply.write(root / "s_vh_clean_2.labels.ply", {**columns, "label": np.ones(9, np.uint16)})
        groups = [{"id": 0, "segments": [0, 1], "label": "wall"}, {"id": 1, "segments": [2], "label": "door"}]
        (root / "s.aggregation.json").write_text(json.dumps({"segGroups": groups}))
        (root / "s_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": [0, 1, 2] * 3}))
        text(root / "scannetv2-labels.combined.tsv", "id\traw_category\tnyu40id", "1\twall\t1", "2\tdoor\t8")
        text(root / "s.txt", "sceneType = Office", "axisAlignment = " + " ".join(map(str, np.eye(4).ravel())))

    def make_npz(root: Path) -> None:
        np.savez(root / "a.npz", xyz=xyz, rgb=rgb, nyu40=np.ones(9, np.int64), instance=np.ones(9, np.int64))

    def make_ply(root: Path) -> None:
        ply.write(root / "text.ply", columns, triangles, binary=False)
        ply.write(root / "binary.ply", columns, triangles)

    def read_npz(root: Path) -> object:
        return scannet.read(root / "a.npz"), open_cloud(root / "a.npz")

    def read_ply(root: Path) -> object:
        return [open_cloud(root / name) for name in ("text.ply", "binary.ply")]

    return [
        Reader(
            "scannet", make_scan, lambda root: scannet.read(root, aligned=True),
            {
                "s_vh_clean_2.ply": "bytes", "s_vh_clean_2.labels.ply": "bytes", "s.aggregation.json": "json",
                "s_vh_clean_2.0.010000.segs.json": "json", "scannetv2-labels.combined.tsv": "text", "s.txt": "text",
            },
        ),
        Reader("npz scan", make_npz, read_npz, {"a.npz": spoil_npz}),
        Reader("ply", make_ply, read_ply, {"text.ply": "text", "binary.ply": spoil_ply}),
    ]  # fmt: skip


def spoil_npz(data: bytes, rng: random.Random) -> bytes:
    """An array has another type or shape, or is gone; or bytes are spoiled."""
    if rng.random() < 0.5:
        return spoil_bytes(data, rng)
    with np.load(io.BytesIO(data)) as file:
        arrays = {name: file[name] for name in file.files}
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    others: list[Any] = [
        array.astype(np.float32), array.astype(object), array.astype("U8"), array.reshape(-1), array[:-1], array[:0],
        np.float64(3), array.astype(np.int64) - 300, array.astype(np.float64) * np.nan, array.astype(complex),
    ]  # fmt: skip
    choice = rng.randrange(len(others) + 1)
    if choice == len(others):
        del arrays[name]
    else:
        arrays[name] = others[choice]
    stream = io.BytesIO()
    np.savez(stream, **arrays, allow_pickle=True)
    return stream.getvalue()


def spoil_ply(data: bytes, rng: random.Random) -> bytes:
    """A line of the header is another, or bytes are spoiled."""
    end = data.index(b"end_header\n") + 11
    if rng.random() < 0.5:
        return spoil_bytes(data, rng)
    return spoil_text(data[:end].decode(), rng).encode() + data[end:]


def _media() -> list[Reader]:
    endings = ("jpg", "png", "webp", "gif", "tif", "bmp", "ppm", "tga", "jp2", "avif")
    films = ("mp4", "mkv", "ts", "webm", "avi")

    def make_pictures(root: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (H, W, 3), np.uint8)
        for ending in endings:
            exif = Image.Exif()
            exif[0x0112] = 6
            about: dict[str, Any] = {"exif": exif} if ending in ("jpg", "png") else {}
            Image.fromarray(noise).save(root / f"a.{ending}", **about)

    def read_picture(name: str) -> Callable[[Path], object]:
        def run(root: Path) -> object:
            image.size(root / name)
            image.read(root / name, long_side=8)
            image.load(root / name, upright=True)
            return image.read(root / name)

        return run

    def read_video(name: str) -> Callable[[Path], object]:
        def run(root: Path) -> object:
            video.info(root / name)
            for _ in zip(video.walk(root / name, 0.2, size=(8, 8)), range(500), strict=False):
                pass
            return video.frames(root / name, [0.0, 0.5])

        return run

    def make_film(name: str) -> Callable[[Path], object]:
        return lambda root: film(root / name)

    return [
        *(Reader(f"picture, {e}", make_pictures, read_picture(f"a.{e}"), {f"a.{e}": "bytes"}) for e in endings),
        *(Reader(f"video, {e}", make_film(f"a.{e}"), read_video(f"a.{e}"), {f"a.{e}": "bytes"}) for e in films),
    ]


def _states() -> list[Reader]:
    def net() -> torch.nn.Module:
        torch.manual_seed(0)
        return checkpoint.find_task("distill").build(_tiny("distill"))

    def make_checkpoint(root: Path) -> None:
        checkpoint.save(root / "m.safetensors", net(), system="distill", preset="tiny", config=_tiny("distill"))

    def read_checkpoint(root: Path) -> object:
        return checkpoint.restore(root / "m.safetensors")

    def spoil_header(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return spoil_bytes(data, rng)
        (size,) = struct.unpack_from("<Q", data)
        head = json.loads(data[8 : 8 + size])
        own = head["__metadata__"]
        inside = json.loads(own["percepta"])
        own["percepta"] = (
            json.dumps(spoil_tree(inside, rng)) if rng.random() < 0.8 else spoil_text(own["percepta"], rng)
        )
        written = json.dumps(head).encode()
        return struct.pack("<Q", len(written)) + written + data[8 + size :]

    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(3)}

    def make_weights(root: Path) -> None:
        (root / "w.safetensors").write_bytes(to_safetensors(state))
        torch.save({"state_dict": state}, root / "w.pt")
        torch.save(state, root / "legacy.pth", _use_new_zipfile_serialization=False)
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), root / "script.pt")

    def read_weights(name: str) -> Callable[[Path], object]:
        return lambda root: pretrained.tensors(root / name)

    def make_index(root: Path) -> None:
        with Writer(root / "index", "m", 64) as writer:
            for i in range(3):
                writer.put(_entry(i))
        writer = Writer(root / "index")
        writer.put(_entry(7))
        writer.close(compact=False)

    def read_index(root: Path) -> object:
        found = Index.open(root / "index")
        return found.find(np.zeros(8, np.uint8), 3), list(found.entries())

    def make_kept(root: Path) -> None:
        shape = (2, H, W)
        for name, array in {
            "image": np.zeros((*shape, 3), np.uint8), "sources": np.zeros((*shape, 3), np.uint8),
            "depth": np.ones(shape, np.uint16), "segments": np.zeros(shape, np.int16),
        }.items():  # fmt: skip
            np.save(root / f"{name}.npy", array)
        planes, labels = np.zeros((2, MAX_TRUE_PLANES, 3)), np.zeros((2, MAX_TRUE_PLANES), int)
        k = np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
        np.savez(root / "truth.npz", planes=planes, labels=labels, moves=np.stack([np.eye(4)] * 2),
                 matrices=np.stack([k] * 2), groups=np.arange(2))  # fmt: skip
        (root / "pairs.json").write_text(json.dumps({"format": 1, "pairs": 2, "width": W, "height": H}))

    def read_kept(root: Path) -> object:
        pairs = KeptPairs(root, "all")
        return [pairs[i] for i in range(len(pairs))]

    def make_run(root: Path) -> None:
        rows = [json.dumps({"step": i, "epoch": 0, "loss": 1.0 / i}) for i in range(1, 5)]
        text(root / "log.jsonl", *rows)
        whole = {"config": {}, "frozen": {}, "model": state, "ema": {}, "optimizer": {}, "phase": 0, "done": 1,
                 "seconds": 1.0, "memory": [{}], "step": 1}  # fmt: skip
        torch.save(whole, root / "last.pt")

    def make_session(root: Path) -> None:
        write_state(root / "s", "a state", {"steps": 3}, state)

    parts = ("codes.npy", "times.npy", "files.npz", "log.bin")
    return [
        Reader("checkpoint", make_checkpoint, read_checkpoint, {"m.safetensors": spoil_header}),
        *(
            Reader(f"weights, {name}", make_weights, read_weights(name), {name: "bytes"})
            for name in ("w.safetensors", "w.pt", "legacy.pth", "script.pt")
        ),
        Reader(
            "index", make_index, read_index,
            {"index/header.json": "json", **{f"index/000002/{part}": "bytes" for part in parts}},
        ),
        Reader(
            "kept pairs", make_kept, read_kept,
            {"pairs.json": "json", "truth.npz": spoil_npz, "depth.npy": "bytes", "segments.npy": "bytes"},
        ),
        Reader("run's log", make_run, lambda root: read_log(root / "log.jsonl"), {"log.jsonl": "text"}),
        Reader("run's state", make_run, lambda root: runs.read_state(root / "last.pt"), {"last.pt": "bytes"}),
        Reader("saved session", make_session, lambda root: read_state(root / "s", "a state"), {"s": "bytes"}),
    ]  # fmt: skip


def _tiny(system: str) -> Any:
    from importlib import import_module

    return import_module(f"percepta.systems.{system}").PRESETS["tiny"]


def _entry(i: int) -> Entry:
    codes = np.full((2, 8), i, np.uint8)
    return Entry(f"/a/{i}.mp4", "video", i, i, f"{i:064x}", float(i), np.array([[0, 1], [1, 2]], np.float32), codes)


# --------------------------------------------------------------------------------------------------------- trying


@dataclass
class Outcome:
    """What came of spoiling one reader's files.

    Attributes:
        read: how often it was read all the same.
        refused: how often an InputError came that names the file or its folder.
        faults: everything else, by what it is and where: how often.
        examples: for each fault the spoiled file's name and its bytes.
    """

    read: int = 0
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, bytes]] = field(default_factory=dict)


def break_reader(reader: Reader, root: Path, count: int, seed: int) -> Outcome:
    """Spoils each file of a reader's input so often, and reads.

    Args:
        reader: which one.
        root: an empty folder.
        count: mutations of each file.
        seed: of the draws.
    """
    out = Outcome()
    rng = random.Random(f"{seed}/{reader.name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader.make(root)
        reader.read(root)  # the good input is read
        for name, how in reader.files.items():
            path = root / name
            good = path.read_bytes()
            for _ in range(count):
                bad = how(good, rng) if callable(how) else spoil(good, how, rng)
                path.write_bytes(bad)
                fault = _try(reader, root, out)
                if fault:
                    out.faults[fault] += 1
                    out.examples.setdefault(fault, (name, bad))
            path.write_bytes(good)
    return out


def _try(reader: Reader, root: Path, out: Outcome) -> str:
    """Reads once; returns the fault, "" for none."""
    try:
        with _watch():
            reader.read(root)
    except InputError as error:
        if str(root) in str(error):
            out.refused += 1
            return ""
        return f"no file is named: {str(error)[:60]}"
    except TimeoutError:
        return f"no answer within {SECONDS} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)
        place = next((f for f in reversed(last) if "percepta" in f.filename and "breaker" not in f.filename), last[-1])
        return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {str(error)[:60]}"
    out.read += 1
    return ""


@contextmanager
def _watch() -> Iterator[None]:
    """Raises TimeoutError inside the block after so many seconds."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
