"""`percepta data refer check` finds what was broken on purpose and names it by file and line."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import coco, davis, folder, refcoco, voc
from percepta.systems.refer.check import check

H, W = 24, 32


def picture(path, size=(H, W)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def mask_png(path, rows=(4, 12), size=(H, W)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(size, np.uint8)
    pixels[rows[0] : rows[1], 3:20] = 255
    Image.fromarray(pixels).save(path)


@pytest.fixture
def own(tmp_path):
    for i in range(6):
        picture(tmp_path / "images" / f"{i}.jpg")
        mask_png(tmp_path / "masks" / f"{i}.png")
    rows = [f"{i}.jpg,thing number {i}" for i in range(6)]
    (tmp_path / "sentences.csv").write_text("\n".join(["image,sentence", *rows]) + "\n")
    return tmp_path


def test_a_good_folder(own):
    calls = []
    report = check(own, progress=lambda done, total: calls.append((done, total)))
    assert report.ok and report.warnings == () and report.layout == folder.NAME
    assert report.counts == {"pictures": 6, "masks": 6, "sentences": 6}
    assert calls == [(i + 1, 6) for i in range(6)]
    assert "Ready to train." in report.text()
    assert len(report.examples) == 6
    assert report.sheet(columns=3, width=600).width == 600


def test_a_value_that_its_mask_lacks_is_a_problem(own):
    (own / "sentences.csv").write_text("image,sentence,value\n0.jpg,the left one,255\n1.jpg,the right one,3\n")
    report = check(own)
    assert not report.ok and len(report.problems) == 1
    assert report.problems[0].line == 3 and report.problems[0].file.name == "sentences.csv"
    text = report.problems[0].message
    assert "1.png: no pixel of the mask has the value 3 of 'the right one'; it has 255" in text


def test_problems_are_named_by_line_the_first_first(own):
    (own / "images" / "4.jpg").write_bytes((own / "images" / "4.jpg").read_bytes()[:300])
    (own / "masks" / "3.png").write_bytes(b"broken")
    mask_png(own / "masks" / "2.png", size=(W, W))
    with (own / "sentences.csv").open("a") as file:
        file.write("9.jpg,gone\n0.jpg,\n")
    report = check(own)
    assert not report.ok
    found = [(problem.file.name, problem.line) for problem in report.problems]
    assert found == [("sentences.csv", line) for line in (4, 5, 6, 8, 9)]
    expected = [
        "the mask is 32 × 32, the picture 32 × 24",
        "cannot be read",
        "4.jpg: ",
        "no picture",
        "empty",
    ]
    for problem, text in zip(report.problems, expected, strict=True):
        assert text in problem.message
    assert f"Mend this first: {own / 'sentences.csv'}, line 4" in report.text()
    assert len(report.examples) == 3 and report.sheet().width  # the good ones can still be seen


def test_warnings(own):
    mask_png(own / "masks" / "1.png", rows=(0, 0))
    Image.fromarray(np.full((H, W), 255, np.uint8)).save(own / "masks" / "2.png")
    mask_png(own / "masks" / "3.png", rows=(8, 24), size=(2 * H, 2 * W))
    picture(own / "images" / "extra.jpg")
    mask_png(own / "masks" / "other.png")
    mask_png(own / "masks" / "lost.png")
    text = "image,sentence,mask\n" + "".join(f"{i}.jpg,thing number {i},\n" for i in range(6))
    text += "4.jpg,Thing number 4,\n5.jpg,thing number 5,other.png\n0.jpg," + "very " * 22 + "long,\n"
    (own / "sentences.csv").write_text(text)
    report = check(own)
    assert report.ok, report.text()
    found = {(w.file.name, w.line): w.message for w in report.warnings}
    assert len(found) == len(report.warnings) == 8
    assert "empty" in found["sentences.csv", 3]
    assert "whole picture" in found["sentences.csv", 4]
    assert "64 × 48, the picture 32 × 24: it will be scaled" in found["sentences.csv", 5]
    assert found["sentences.csv", 8] == "the same row as line 6"
    assert "another mask than in line 7" in found["sentences.csv", 9]
    assert "23 words" in found["sentences.csv", 10]
    assert found["extra.jpg", None] == found["lost.png", None] == "nothing names this file"


def test_a_picture_turned_by_exif(own):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(own / "images" / "0.jpg") as upright:
        upright.save(own / "images" / "0.jpg", exif=exif)
    (problem,) = check(own).problems
    assert problem.line == 2 and "EXIF" in problem.message


def test_a_folder_without_its_parts_and_without_good_rows(own):
    (own / "sentences.csv").write_text("image,sentence\n7.jpg,x\n")
    report = check(own)
    assert report.counts["pictures"] == 0 and report.problems[0].line == 2
    with pytest.raises(ValueError, match="no picture with a good mask"):
        report.sheet()
    for file in (own / "masks").iterdir():
        file.unlink()
    (own / "masks").rmdir()
    (problem,) = check(own).problems
    assert (problem.file, problem.message[:14]) == (own / "masks", "no such folder")


def instances(crowd=0):
    square = [3, 4, 20, 4, 20, 12, 3, 12]
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": H, "width": W}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [square], "iscrowd": crowd},
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }


def test_coco(tmp_path):
    picture(tmp_path / "val2017" / "a.jpg")
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(instances()))
    for root in (tmp_path, path):
        report = check(root)
        assert report.layout == coco.NAME and report.ok and report.warnings == ()
        assert report.counts == {"pictures": 1, "masks": 1, "sentences": 0, "classes": 2}
    assert report.sheet()
    path.write_text("{\n\n!")
    (problem,) = check(tmp_path).problems
    assert (problem.file, problem.line) == (path, 3)


def test_references_as_published(tmp_path):
    picture(tmp_path / "images" / "train2014" / "a.jpg")
    ref = {"ref_id": 0, "ann_id": 5, "image_id": 1, "split": "train", "sentences": [{"sent": "the dog"}]}
    refs = [ref, {**ref, "ref_id": 1, "split": "testA"}]
    home = tmp_path / "refcoco+"
    home.mkdir()
    (home / "instances.json").write_text(json.dumps(instances()))
    (home / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    for root in (tmp_path, home):
        report = check(root)
        assert report.layout == refcoco.NAME and report.ok, report.text()
        assert report.counts == {
            "pictures": 1,
            "masks": 2,
            "sentences": 2,
            "refcoco+ (unc) train": 1,
            "refcoco+ (unc) testA": 1,
        }
    (home / "refs(unc).p").write_bytes(pickle.dumps([*refs, np.float32(1)]))
    (problem,) = check(tmp_path).problems
    assert problem.file == home / "refs(unc).p" and "numpy" in problem.message


def test_references_as_prepared(tmp_path):
    picture(tmp_path / "images" / "train2014" / "a.jpg")
    entries = [{"segment_id": i, "img_name": "a.jpg", "sentences": [{"sent": "a dog"}]} for i in range(3)]
    (tmp_path / "anns" / "refcoco").mkdir(parents=True)
    (tmp_path / "anns" / "refcoco" / "val.json").write_text(json.dumps(entries))
    for i in (0, 1, 7, 8):
        mask_png(tmp_path / "masks" / "refcoco" / f"{i}.png")
    report = check(tmp_path)
    assert report.layout == refcoco.NAME and report.counts["refcoco val"] == 3
    (problem,) = report.problems
    assert problem.file.name == "2.png"
    (warning,) = report.warnings
    assert warning.file.name == "7.png" and "nor 1 more in masks/" in warning.message


def test_davis(tmp_path):
    for i in range(3):
        picture(tmp_path / "JPEGImages" / "480p" / "bear" / f"{i:05d}.jpg")
        mask_png(tmp_path / "Annotations" / "480p" / "bear" / f"{i:05d}.png", rows=(3, 3 + 4 * i))
    report = check(tmp_path)
    assert report.layout == davis.NAME and report.ok
    assert report.counts == {"pictures": 3, "masks": 3, "sentences": 0, "videos": 1}
    assert [w.file.name for w in report.warnings] == ["00000.png"]
    (tmp_path / "Annotations" / "480p" / "bear" / "00001.png").unlink()
    assert check(tmp_path).problems[0].file.name == "00001.png"


def test_an_unknown_layout_says_what_was_looked_for(tmp_path):
    (tmp_path / "stuff").mkdir()
    with pytest.raises(ValueError, match="known") as caught:
        check(tmp_path)
    for sign in ("sentences.csv", "instances*.json", "JPEGImages", "refs(", "anns/"):
        assert sign in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        check(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"a\.csv: no layout of data that is known"):
        (tmp_path / "a.csv").write_text("x")
        check(tmp_path / "a.csv")


def test_several_sets_in_one_folder(own, tmp_path_factory):
    parent = tmp_path_factory.mktemp("parent")
    (parent / "mine").symlink_to(own)
    picture(parent / "voc" / "images" / "dog_1.jpg")
    mask_png(parent / "voc" / "masks" / "dog_1.png")
    report = check(parent)
    assert report.ok and report.layout == f"{folder.NAME} and {voc.NAME}"
    assert report.counts["mine: pictures"] == 6 and report.counts["voc: pictures"] == 1
    alone = check(parent / "voc")
    assert alone.ok and alone.layout == voc.NAME and alone.counts["pictures"] == 1


def test_files_of_one_set_that_cannot_be_trained_on_together(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    for name in ("instances_a.json", "instances_b.json"):
        (tmp_path / name).write_text(json.dumps(instances()))
    report = check(tmp_path)
    assert report.ok and report.counts["instances_a.json"] == report.counts["instances_b.json"] == 1
    (warning,) = report.warnings
    assert "more than one instances JSON" in warning.message


def test_the_check_writes_nothing(own):
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    check(own).sheet()
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == before


def test_real_videos(shared_data):
    report = check(shared_data / "davis16-train")
    assert report.ok and report.counts["videos"] == 30
