"""Readers of CIFAR in its published layouts, and of folders of class folders."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import cifar, class_folder, classified, layouts
from percepta.datasets.classified import Classified
from percepta.datasets.problem import Problem

NAMES = ("cat", "dog", "ship")
LAYOUTS = ("binary-10", "binary-100", "python-10", "python-100", "parquet")


def world(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures `n 32 32 3` and labels; train has five files of two."""
    rng = np.random.default_rng(len(split))
    n = 10 if split == "train" else 4
    return rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.permutation(np.arange(n) % len(NAMES))


def planes(pixels: np.ndarray) -> np.ndarray:
    """Rows of 3072: red, green, blue, each row by row; written out pixel by pixel."""
    rows = np.zeros((len(pixels), 3072), np.uint8)
    for c in range(3):
        for y in range(32):
            for x in range(32):
                rows[:, c * 1024 + y * 32 + x] = pixels[:, y, x, c]
    return rows


def write(root: Path, layout: str, protocol: int = 2) -> Path:
    """The files of a layout, as the data set's own page describes them."""
    folder = root / {"binary-10": "cifar-10-batches-bin", "python-100": "cifar-100-python"}.get(layout, "")
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        pixels, labels = world(split)
        rows = planes(pixels)
        parts = np.array_split(np.arange(len(labels)), 5 if layout.endswith("10") and split == "train" else 1)
        for number, part in enumerate(parts, 1):
            ten = f"data_batch_{number}" if split == "train" else "test_batch"
            if layout == "binary-10":
                data = np.concatenate([labels[part, None].astype(np.uint8), rows[part]], 1)
                (folder / f"{ten}.bin").write_bytes(data.tobytes())
            elif layout == "binary-100":
                coarse = np.full((len(part), 1), 19, np.uint8)
                data = np.concatenate([coarse, labels[part, None].astype(np.uint8), rows[part]], 1)
                (folder / f"{split}.bin").write_bytes(data.tobytes())
            elif layout.startswith("python"):
                key = b"labels" if layout.endswith("10") else b"fine_labels"
                table = {b"data": rows[part], key: labels[part].tolist(), b"batch_label": b"a batch"}
                name = ten if layout.endswith("10") else split
                (folder / name).write_bytes(pickle.dumps(table, protocol))
    if layout == "parquet":
        write_parquet(folder)
    elif layout.startswith("binary"):
        name = "batches.meta.txt" if layout.endswith("10") else "fine_label_names.txt"
        (folder / name).write_text("\n".join(NAMES) + "\n\n")
    else:
        key, name = ("label_names", "batches.meta") if layout.endswith("10") else ("fine_label_names", "meta")
        (folder / name).write_bytes(pickle.dumps({key: list(NAMES)}, protocol))
    return root


def write_parquet(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for split in ("train", "test"):
        pixels, labels = world(split)
        files = []
        for picture in pixels:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            files.append(buffer.getvalue())
        table = pyarrow.table({"image": files, "label": labels.astype(np.uint8)})
        parquet.write_table(table, folder / f"{split}.parquet")
    (folder / "classes.txt").write_text("\n".join(NAMES) + "\n")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_layout_gives_the_same_pictures(tmp_path: Path, layout: str, split: str) -> None:
    found = cifar.read(write(tmp_path, layout), split)
    pixels, labels = world(split)
    assert found.classes == NAMES == cifar.classes(tmp_path)
    assert np.array_equal(found.pixels, pixels) and np.array_equal(found.labels, labels)
    where = cifar.find(tmp_path)
    assert where is not None and where[1] == layout


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_of_all_ages_are_read(tmp_path: Path, protocol: int) -> None:
    found = cifar.read(write(tmp_path, "python-10", protocol), "test")
    assert np.array_equal(found.pixels, world("test")[0])


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "python-10")
    trap = tmp_path / "sprung"
    (root / "test_batch").write_bytes(pickle.dumps({"data": Trap(trap)}))
    with pytest.raises(ValueError, match=r"test_batch: .*mkdir"):
        cifar.read(root, "test")
    assert not trap.exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_is_named(tmp_path: Path, layout: str) -> None:
    root = write(tmp_path, layout)
    where = cifar.find(root)
    assert where is not None
    file = next(p for p in where[0].iterdir() if p.name.startswith("test"))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=file.name):
        cifar.read(root, "test")
    train = next(p for p in where[0].iterdir() if p.name.startswith(("train", "data_batch_3")))
    train.unlink()
    with pytest.raises(FileNotFoundError, match=train.name):
        cifar.read(root, "train")


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, "binary-100")
    (root / "fine_label_names.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match="0 to 1"):
        cifar.read(root, "train")


def test_no_cifar_is_said(tmp_path: Path) -> None:
    assert cifar.find(tmp_path) is None
    with pytest.raises(FileNotFoundError, match="looked for"):
        cifar.read(tmp_path, "train")
    write(tmp_path, "binary-10")
    with pytest.raises(ValueError, match="'val'"):
        cifar.read(tmp_path, "val")


def test_the_shared_copy_is_read(shared_data: Path) -> None:
    pytest.importorskip("pyarrow")
    found = cifar.read(shared_data / "cifar10", "test")
    assert found.pixels.shape == (10_000, 32, 32, 3)
    assert np.bincount(found.labels).tolist() == [1000] * 10
    assert found.classes[:3] == ("airplane", "automobile", "bird")


# ------------------------------------------------------------------------------------------- class folders


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    files = [picture(tmp_path / name) for name in ("b/2.png", "b/1.jpg", "a/deep/3.png", "a/4.webp")]
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / ".cache").mkdir()
    found = class_folder.read(tmp_path)
    assert found.classes == ("a", "b") and list(found.parts) == ["all"]
    assert [(path, number) for path, number in found.parts["all"]] == [
        (files[3], 0), (files[2], 0), (files[1], 1), (files[0], 1),
    ]  # fmt: skip


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val"), ("train", "val", "test")])
def test_splits_are_kept(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        for name in "ab":
            picture(tmp_path / split / name / f"{split}.png")
    found = class_folder.read(tmp_path)
    assert tuple(found.parts) == splits and found.classes == ("a", "b")
    assert all([p.stem for p, _ in part] == [split, split] for split, part in found.parts.items())


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "valid"), ("train", "val")),
        (("train", "validation"), ("train", "val")),
        (("Train", "Test"), ("train", "test")),
        (("TRAINING", "valid", "testing"), ("train", "val", "test")),
        (("train",), ("all",)),
        (("test",), ("all",)),
    ],
)
def test_split_folders_are_known_by_any_usual_name(tmp_path: Path, names: tuple[str, ...], splits) -> None:
    for split in names:
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "1.png")
    assert class_folder.is_one(tmp_path)
    found, problems = class_folder.parse(tmp_path)
    assert found.classes == ("cat", "dog") and tuple(found.parts) == splits and problems == []


def test_a_check_counts_pictures_by_split_and_class(tmp_path: Path) -> None:
    for name in ("train/cat/1", "train/cat/2", "train/dog/1", "val/cat/1", "val/dog/1"):
        picture(tmp_path / f"{name}.png", sum(name.encode()))
    done: list[tuple[int, int]] = []
    found = class_folder.classified(tmp_path)
    report = classified.check(tmp_path, "mine", found, progress=lambda i, n: done.append((i, n)))
    assert done == [(i, 5) for i in range(1, 6)]
    assert report.counts["pictures"] == 5 and report.counts["classes"] == 2
    assert {key: value for key, value in report.counts.items() if ":" in key} == {
        "train: cat": 2, "train: dog": 1, "val: cat": 1, "val: dog": 1,
    }  # fmt: skip


def test_splits_that_cannot_be_told_apart_are_said(tmp_path: Path) -> None:
    for split in ("train", "val", "valid", "notes"):
        picture(tmp_path / split / "cat" / "1.png")
        picture(tmp_path / split / "dog" / "1.png")
    warnings: list[Problem] = []
    _, problems = class_folder.parse(tmp_path, warnings)
    assert [str(p.file.name) for p in problems] == ["valid"] and "beside val" in str(problems[0])
    assert [p.file.name for p in warnings] == ["notes"]


def test_folders_of_the_same_classes_look_like_splits(tmp_path: Path) -> None:
    for split in ("part1", "part2"):
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "1.png")
    warnings: list[Problem] = []
    assert class_folder.parse(tmp_path, warnings)[0].classes == ("part1", "part2")
    assert "holds the same folders as part1 (cat, dog, ...): are these splits?" in str(warnings[0])


def test_names_of_other_systems_are_one_class(tmp_path: Path) -> None:
    for name in ("train/caf\u00e9", "train/dog", "val/cafe\u0301", "val/dog"):
        picture(tmp_path / name / "10.png")
        picture(tmp_path / name / "9.png")
    for name in ("train/dog/.ipynb_checkpoints/9-checkpoint.png", "train/dog/@eaDir/9.png/T.png", "__MACOSX/x/._a.png"):
        picture(tmp_path / name)
    found, problems = class_folder.parse(tmp_path)
    assert problems == [] and found.classes == ("caf\u00e9", "dog")
    assert [path.name for path, _ in found.parts["train"]] == ["9.png", "10.png"] * 2 and len(found.parts["val"]) == 4


def test_classes_called_train_and_test_without_more_are_classes(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        picture(tmp_path / name / "1.png")
    assert class_folder.read(tmp_path).classes == ("bus", "train")


def test_one_class_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "only" / "1.png")
    with pytest.raises(ValueError, match=r"at least two.*only only"):
        class_folder.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        class_folder.read(tmp_path / "nowhere")


def test_classes_that_differ_between_splits_are_named(tmp_path: Path) -> None:
    for name in ("train/cats", "train/dogs", "test/cats", "test/dog"):
        picture(tmp_path / name / "1.png")
    _, problems = class_folder.parse(tmp_path)
    texts = [str(problem) for problem in problems]
    assert len(texts) == 2
    assert "did you mean dogs?" in texts[0] and str(tmp_path / "test" / "dog") in texts[0]
    assert "no folder for the class dogs" in texts[1]
    with pytest.raises(ValueError, match="did you mean dogs"):
        class_folder.read(tmp_path)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"b: no pictures"):
        class_folder.read(tmp_path)


# ------------------------------------------------------------------------------------------- classified pictures


@pytest.mark.parametrize("folder", ["", "cifar10", "deeper"])
def test_cifar_is_a_set_of_classified_pictures(tmp_path: Path, folder: str) -> None:
    """Also where it lies in the folder of data as cifar10, beside others, or as its only set."""
    write(tmp_path / folder, "binary-10")
    (tmp_path / "nas").mkdir()
    found = layouts.find_one(tmp_path, Classified)
    pictures = found.read(found.root)
    assert found.set.NAME == "CIFAR" and pictures.classes == NAMES and not pictures.has_val
    pixels, labels = world("train")
    part = pictures.part(pictures.official("val"))
    assert part.labels.tolist() == labels.tolist() and part.names[3] == "train 3" and not part.paths
    assert np.array_equal(part.pixels(np.array([4, 1]), 224).permute(0, 2, 3, 1).numpy(), pixels[[4, 1]])


def test_class_folders_are_a_set_of_classified_pictures(tmp_path: Path) -> None:
    for name in ("pets/cat/1.png", "pets/dog/2.png"):
        picture(tmp_path / name)
    found = layouts.find_one(tmp_path, Classified)  # the folder above it
    pictures = found.read(found.root)
    assert found.root == tmp_path / "pets" and pictures.splits == ("all",)
    assert {pictures.official(split) for split in ("train", "val", "test", "all")} == {"all"}
    part = pictures.part("all")
    assert part.pixels(np.array([1]), 8).shape == (1, 3, 8, 8) and list(part.paths)[1].name == "2.png"
    (tmp_path / "pets" / "dog" / "2.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"dog/2\.png"):
        part.pixels(np.array([0, 1]), 8)
    (tmp_path / "pets" / "bird").mkdir()
    problems: list[Problem] = []
    assert found.read(found.root, problems).classes == ("cat", "dog")
    assert "no pictures" in str(problems[0])
    bad: list[Problem] = []
    pixels, places = part.read(np.array([0, 1]), 8, bad)
    assert pixels.shape == (1, 3, 8, 8) and places.tolist() == [0] and bad[0].file.name == "2.png"


def test_official_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in "ab":
            picture(tmp_path / split / name / "1.png")
    found = layouts.find_one(tmp_path, Classified)
    pictures = found.read(found.root)
    assert pictures.has_val
    assert [pictures.official(s) for s in ("train", "val", "test", "all")] == ["train", "val", "val", "train"]
    with pytest.raises(ValueError, match="'dev'"):
        pictures.official("dev")


def test_what_is_no_set_and_what_are_several_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)CIFAR: .*class folders: two or more folders"):
        layouts.find_one(tmp_path, Classified)
    for name in ("a", "b"):
        write(tmp_path / name, "binary-100")
    with pytest.raises(ValueError, match=r"several sets \(a, b\)"):
        layouts.find_one(tmp_path, Classified)
