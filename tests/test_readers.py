"""Readers of small labelled sets: trees made here, the real sets where PERCEPTA_DATA names them, and PNG masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from percepta.datasets import ccp, coco_small, flickr8k, foregrounds, oasis, voc
from percepta.datasets.scene import MaskSource, PngMask, Region, Scene
from percepta.media import image as pictures

H, W = 12, 16
LABELS = np.zeros((H, W), np.uint8)
LABELS[2:6, 3:8], LABELS[7:11, 1:5], LABELS[0:3, 10:16] = 1, 2, 3


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photo(path: Path) -> None:
    save(path, np.full((H, W, 3), 90, np.uint8))


def table(path: Path, *rows: tuple[object, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def masks(scene: Scene) -> dict[str, np.ndarray]:
    return {region.name: region.mask.read() for region in scene.regions}


def check(scenes: list[Scene], source: str) -> None:
    """What holds for every reader."""
    assert scenes and len({s.group for s in scenes}) == len(scenes)
    for scene in scenes:
        assert scene.source == source and scene.group.startswith(f"{source}/") and scene.image.is_file()
        size = pictures.size(scene.image)
        for region in scene.regions:
            mask = region.mask.read()
            assert mask.dtype == bool and mask.shape == size and mask.any(), (scene.image, region.name)
            assert region.name or region.sentences
        if scene.vocabulary:
            assert {r.name for r in scene.regions if r.name} <= scene.vocabulary


def test_voc(tmp_path: Path) -> None:
    for stem in ("aero_1", "mbike_2007_3", "dog_7"):
        photo(tmp_path / "images" / f"{stem}.webp")
        save(tmp_path / "masks" / f"{stem}.png", (LABELS == 2).astype(np.uint8) * 255)
    scenes = voc.read(tmp_path)
    check(scenes, "voc")
    assert [s.regions[0].name for s in scenes] == ["aeroplane", "dog", "mbike_2007"]
    assert all(len(s.regions) == 1 and s.regions[0].every and not s.vocabulary for s in scenes)
    np.testing.assert_array_equal(scenes[1].regions[0].mask.read(), LABELS == 2)


def test_every_prefix_of_voc_is_one_of_its_twenty_classes() -> None:
    assert len(voc.NAMES) == 20 and set(voc.PREFIXES.values()) <= set(voc.NAMES)


def tree(root: Path) -> None:
    """Four pictures: trusted and labelled, a speck, doubtful, neither mask nor label."""
    for stem in "abcd":
        photo(root / "images" / f"{stem}.jpg")
    for stem in "abc":
        save(root / "foreground" / f"{stem}.png", (LABELS == 1).astype(np.uint8) * 255)
    table(root / "foreground" / "quality.csv", ("stem", "area", "unsure"), ("a", 0.1, 0.01), ("b", 0.02, 0.01),
          ("c", 0.3, 0.15))  # fmt: skip
    labels = np.where(LABELS == 1, voc.NAMES.index("dog") + 1, np.where(LABELS == 2, 15, 0)).astype(np.uint8)
    for stem in "ac":
        save(root / "voc21-pseudo" / f"{stem}.png", labels)


def test_flickr8k(tmp_path: Path) -> None:
    tree(tmp_path)
    rows = [(f"{stem}.jpg", f"Picture {stem}, line {i} .") for stem in "abcd" for i in range(2)]
    table(tmp_path / "captions.csv", ("image", "caption"), *rows)
    scenes = flickr8k.read(tmp_path)
    check(scenes, "flickr8k")
    assert [s.image.name for s in scenes] == ["a.jpg", "c.jpg"]  # b is a speck without labels, d has nothing
    assert [[r.name for r in s.regions] for s in scenes] == [["", "dog", "person"], ["dog", "person"]]
    assert scenes[0].regions[0].sentences == ("Picture a, line 0", "Picture a, line 1")
    found = masks(scenes[0])
    np.testing.assert_array_equal(found[""], LABELS == 1)
    np.testing.assert_array_equal(found["dog"], LABELS == 1)
    np.testing.assert_array_equal(found["person"], LABELS == 2)
    assert all(r.every for s in scenes for r in s.regions)
    assert scenes[0].vocabulary == set(voc.NAMES)


def test_flickr8k_without_labels_knows_of_nothing_absent(tmp_path: Path) -> None:
    tree(tmp_path)
    table(tmp_path / "captions.csv", ("image", "caption"), ("a.jpg", "A dog ."))
    (tmp_path / "voc21-pseudo" / "a.png").unlink()
    (scene,) = flickr8k.read(tmp_path)
    assert scene.vocabulary == frozenset() and [r.name for r in scene.regions] == [""]
    (tmp_path / "foreground" / "quality.csv").unlink()
    assert flickr8k.read(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"captions\.csv"):
        flickr8k.read(tmp_path / "images")


def test_oasis(tmp_path: Path) -> None:
    tree(tmp_path)
    table(tmp_path / "images.csv", ("item", "file", "caption"), (1, "a.jpg", "Two acorns.  One is open."),
          (2, "c.jpg", "A dog, on grass."))  # fmt: skip
    scenes = oasis.read(tmp_path)
    check(scenes, "oasis")
    assert scenes[0].regions[0].sentences == ("Two acorns",)
    assert [len(s.regions) for s in scenes] == [3, 2]


def test_ccp(tmp_path: Path) -> None:
    words = ("null", "bag", "purse", "jeans", "shirt")
    (tmp_path / "labels.txt").parent.mkdir(exist_ok=True)
    (tmp_path / "labels.txt").write_text("\n".join(words) + "\n")
    photo(tmp_path / "images" / "0001.jpg")
    save(tmp_path / "masks" / "0001.png", LABELS)
    photo(tmp_path / "images" / "0002.jpg")
    save(tmp_path / "masks" / "0002.png", np.where(LABELS == 1, 2, 0).astype(np.uint8))
    scenes = ccp.read(tmp_path)
    check(scenes, "ccp")
    found = masks(scenes[0])
    for name in ("bag", "purse"):
        np.testing.assert_array_equal(found[name], (LABELS == 1) | (LABELS == 2))
    np.testing.assert_array_equal(found["jeans"], LABELS == 3)
    # A bag is neither marked nor absent where there is a purse: people use the words for one another.
    assert list(masks(scenes[1])) == ["purse"]
    assert scenes[1].vocabulary == {"purse", "jeans", "shirt"}
    assert scenes[0].vocabulary == {"bag", "purse", "jeans", "shirt"}


def test_coco_small(tmp_path: Path) -> None:
    objects = [
        {"id": 1, "category": "dog", "iscrowd": 0},
        {"id": 2, "category": "dog", "iscrowd": 0},
        {"id": 3, "category": "person", "iscrowd": 0},
        {"category": "person", "iscrowd": 1},
    ]
    entries = {"7": {"objects": objects, "captions": ["Two dogs."]}, "8": {"objects": objects[2:3], "captions": []}}
    (tmp_path / "objects.json").write_text(json.dumps(entries))
    for key in entries:
        photo(tmp_path / "images" / f"{key}.webp")
        save(tmp_path / "instances" / f"{key}.png", LABELS)
    scenes = coco_small.read(tmp_path)
    check(scenes, "coco")
    assert [[r.name for r in s.regions] for s in scenes] == [["dog", "dog"], ["person"]]
    assert [s.vocabulary for s in scenes] == [{"dog"}, {"dog", "person"}]
    for number, region in enumerate(scenes[0].regions, 1):
        np.testing.assert_array_equal(region.mask.read(), number == LABELS)
        assert not region.every
    assert coco_small.captions(tmp_path) == {"7.webp": ["Two dogs."]}


def test_foregrounds(tmp_path: Path) -> None:
    for folder in ("horses", "people"):
        photo(tmp_path / folder / "images" / "x.jpg")
        save(tmp_path / folder / "masks" / "x.png", LABELS)
    scenes = foregrounds.read(tmp_path)
    for scene, name in zip(scenes, ("horse", "person"), strict=True):
        check([scene], scene.source)
        assert [(r.name, r.every) for r in scene.regions] == [(name, True)]
        np.testing.assert_array_equal(scene.regions[0].mask.read(), LABELS > 0)


# PNG masks


ANY = LABELS > 0


def grey(mode: str) -> Image.Image:
    picture = Image.fromarray(ANY.astype(np.uint8) * 200)
    if mode == "1":
        return picture.point(lambda v: 255 * (v > 0)).convert("1")
    if mode == "P":
        indexed = Image.fromarray(LABELS)
        indexed.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9, 80, 0, 0])  # colours say nothing, indices do
        return indexed
    if mode == "16 bit":
        return Image.fromarray(LABELS.astype(np.uint16) * 256)  # nothing in the lower byte
    if mode in ("LA", "RGBA"):
        picture = picture.convert(mode)
        picture.putalpha(255)
        return picture
    return picture.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "16 bit"])
def test_masks_of_every_kind_of_png(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    grey(mode).save(path)
    mask = PngMask(path)
    assert isinstance(mask, MaskSource)
    np.testing.assert_array_equal(mask.read(), ANY)
    assert mask.read().dtype == bool
    if mode in ("P", "16 bit"):
        step = 256 if mode == "16 bit" else 1
        np.testing.assert_array_equal(PngMask(path, (2 * step,)).read(), LABELS == 2)
        np.testing.assert_array_equal(PngMask(path, (step, 3 * step)).read(), (LABELS == 1) | (LABELS == 3))


def test_a_coloured_mask_counts_its_brightest_colour(tmp_path: Path) -> None:
    pixels = np.zeros((H, W, 3), np.uint8)
    pixels[LABELS == 2] = (0, 0, 40)
    save(tmp_path / "mask.png", pixels)
    np.testing.assert_array_equal(PngMask(tmp_path / "mask.png").read(), LABELS == 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 300), unique=True), st.integers(0, 2**31))
def test_values_choose_pixels(values: list[int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 301, (5, 7))
    mask = PngMask(Path("none.png"), tuple(values)).select(pixels)
    expected = [[(v in values) if values else v > 0 for v in row] for row in pixels.tolist()]
    assert mask.tolist() == expected


# The real sets


def some(scenes: list[Scene], count: int = 20) -> list[Scene]:
    return [scenes[i] for i in np.linspace(0, len(scenes) - 1, count).astype(int)]


def folder(root: Path, name: str) -> Path:
    if not (root / name).is_dir():
        pytest.skip(f"PERCEPTA_DATA has no {name}")
    return root / name


@pytest.mark.parametrize(
    ("name", "read", "source", "least"),
    [("voc-coseg", voc.read, "voc", 800), ("coco-small", coco_small.read, "coco", 350)],
)
def test_real_sets(shared_data: Path, name: str, read, source: str, least: int) -> None:
    scenes = read(folder(shared_data, name))
    assert len(scenes) >= least
    check(some(scenes), source)
    assert {r.name for s in scenes for r in s.regions} >= {"dog", "person"}
    if name == "voc-coseg":
        assert {r.name for s in scenes for r in s.regions} == set(voc.NAMES)


def test_real_foregrounds(shared_data: Path) -> None:
    scenes = foregrounds.read(folder(shared_data, "foregrounds"))
    for source in ("horses", "people"):
        own = [s for s in scenes if s.source == source]
        assert len(own) > 250
        check(some(own), source)


def test_real_garments(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(shared_data, "ccp")
    every = sorted((root / "masks").glob("*.png"))
    assert len(every) > 800
    monkeypatch.setattr(ccp, "listed", lambda folder, endings: iter(every[::40]))  # a part: reading all takes seconds
    scenes = ccp.read(root)
    assert len(scenes) == len(every[::40])
    check(scenes, "ccp")
    for scene in scenes:
        found = masks(scene)
        for row in ccp.SAME:
            present = [found[name] for name in row if name in found]
            assert all(np.array_equal(mask, present[0]) for mask in present)
            assert not present or not set(row) & (scene.vocabulary - set(found))


@pytest.mark.parametrize(("name", "read"), [("flickr8k", flickr8k.read), ("oasis", oasis.read)])
def test_real_captions(shared_data: Path, tmp_path: Path, name: str, read) -> None:
    root = folder(shared_data, name)
    # A tree of links with every tenth label: reading all of them takes seconds.
    for child in root.iterdir():
        if child.name != "voc21-pseudo":
            (tmp_path / child.name).symlink_to(child)
    (tmp_path / "voc21-pseudo").mkdir()
    for mask in sorted((root / "voc21-pseudo").glob("*.png"))[::10]:
        (tmp_path / "voc21-pseudo" / mask.name).symlink_to(mask)
    scenes = read(tmp_path)
    assert len(scenes) > 200
    check(some(scenes), name)
    with (root / "foreground" / "quality.csv").open() as file:
        rows = {r["stem"]: r for r in csv.DictReader(file)}
    trusted = {s for s, r in rows.items() if float(r["area"]) > 0.02 and float(r["unsure"]) < 0.15}
    assert trusted < rows.keys()
    used = {s.image.stem for s in scenes if any(not r.name for r in s.regions)}
    assert used and used <= trusted
    labelled = [s for s in scenes if s.vocabulary]
    assert labelled and all(s.vocabulary == set(voc.NAMES) for s in labelled)


def test_regions_are_plain_values() -> None:
    a, b = (Region(PngMask(Path("a.png"), (1,)), "dog") for _ in range(2))
    assert a == b and hash(a) == hash(b)
