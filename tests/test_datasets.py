"""Official layouts, made small: what the readers return, in which order, and what they say about damage."""

import collections
import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import coco, davis, folder, refcoco
from percepta.datasets.scene import of_split, stride
from percepta.errors import InputError
from percepta.metrics.masks import coco_rle_encode, polygons_to_mask

H, W = 12, 16


def picture(path, size=(H, W)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def box(y0, y1, x0, x1):
    mask = np.zeros((H, W), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def mask_png(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask).astype(np.uint8) * (255 if mask.dtype == bool else 1)).save(path)


def polygon(y0, y1, x0, x1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def instances(*, objects=(), pictures=("a.jpg", "b.jpg")):
    return {
        "images": [{"id": 10 + i, "file_name": name, "height": H, "width": W} for i, name in enumerate(pictures)],
        "annotations": list(objects),
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
    }


def entry(number, image, category, segmentation, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": crowd,
    }


OBJECTS = (
    entry(1, 10, 18, [polygon(2, 6, 3, 8)]),
    entry(2, 10, 3, coco_rle_encode(box(7, 11, 1, 5))),
    entry(3, 10, 1, [polygon(0, 3, 0, 3), polygon(5, 8, 10, 14)]),
    entry(4, 10, 1, coco_rle_encode(box(8, 12, 8, 16), compressed=False), crowd=1),
    entry(5, 10, 18, [polygon(8, 11, 6, 9)]),
)


# COCO


@pytest.mark.parametrize("folder_name", ["val2017", "images/val2017", "images", "."])
def test_coco(tmp_path, folder_name):
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / folder_name / name)
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(instances(objects=OBJECTS)))
    scenes = coco.read(tmp_path)
    assert coco.read(path) == scenes
    assert [scene.image.name for scene in scenes] == ["a.jpg", "b.jpg"]
    assert all(scene.image.is_file() and scene.vocabulary == {"person", "car", "dog"} for scene in scenes)
    assert scenes[1].regions == ()
    dogs = [r for r in scenes[0].regions if r.name == "dog"]
    np.testing.assert_array_equal(dogs[0].mask.read(), box(2, 6, 3, 8))
    assert len(dogs) == 2 and not any(dog.every for dog in dogs)
    (car,) = (r for r in scenes[0].regions if r.name == "car")
    np.testing.assert_array_equal(car.mask.read(), box(7, 11, 1, 5))


def test_a_crowd_is_no_object_and_takes_its_class_along(tmp_path):
    picture(tmp_path / "a.jpg")
    (tmp_path / "instances.json").write_text(json.dumps(instances(objects=OBJECTS, pictures=("a.jpg",))))
    people = [r for r in coco.read(tmp_path)[0].regions if r.name == "person"]
    assert len(people) == 1 and people[0].every
    expected = box(0, 3, 0, 3) | box(5, 8, 10, 14) | box(8, 12, 8, 16)
    np.testing.assert_array_equal(people[0].mask.read(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("images"), "no list 'images'"),
        (lambda t: t["images"][1].pop("height"), r"images\[1\] has no 'height'"),
        (lambda t: t["annotations"][0].update(image_id=99), "annotation 1 names picture 99"),
        (lambda t: t["annotations"][1].update(category_id=99), "annotation 2 names category 99"),
        (lambda t: t["annotations"][1].update(segmentation=[]), "annotation 2 has no segmentation"),
    ],
)
def test_coco_errors(tmp_path, change, message):
    table = json.loads(json.dumps(instances(objects=OBJECTS)))
    change(table)
    picture(tmp_path / "a.jpg")
    (tmp_path / "instances.json").write_text(json.dumps(table))
    with pytest.raises(ValueError, match=message):
        coco.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["images"][0].update(height=None), r"images\[0\] has no 'height'"),
        (lambda t: t["images"][0].update(width=[16]), r"images\[0\]: 'width' has to be a whole number, not \[16\]"),
        (lambda t: t["images"][0].update(width=10**9), "height and width are 1 to"),
        (lambda t: t["images"][0].update(file_name=7), "'file_name' has to be a text, not 7"),
        (lambda t: t["images"][0].update(id={}), "'id' has to be a whole number"),
        (
            lambda t: t["images"][0].update(file_name="gone.jpg"),
            r"gone\.jpg: no such picture; instances\.json names it",
        ),
        (lambda t: t["images"].insert(0, None), r"images\[0\]: expected an object with 'height', found null"),
        (lambda t: t["images"].append(dict(t["images"][1])), r"images\[2\] has the id 11, as one before it"),
    ],
)
def test_one_bad_picture_never_stops_the_rest(tmp_path, change, message):
    """Also where it is the first of the file."""
    table = json.loads(json.dumps(instances()))
    change(table)
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "b.jpg")
    (tmp_path / "instances.json").write_text(json.dumps(table))
    problems = []
    found = coco.read(tmp_path, problems)
    assert found[-1].image.name == "b.jpg" and len(problems) == 1
    assert re.search(message, str(problems[0])) and "json" in str(problems[0])
    with pytest.raises(InputError, match=message):
        coco.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message", "left"),
    [
        ({"segmentation": []}, "annotation 1 has no segmentation", False),
        ({"segmentation": None}, "annotation 1 has no segmentation", False),
        ({"segmentation": 7}, "annotation 1: its segmentation is a whole number", False),
        ({"segmentation": [[1, 2, 3, 4]]}, "annotation 1: 1 of its 1 polygons", False),
        ({"segmentation": [polygon(2, 6, 3, 8), [7, 7, 7, 8]]}, "annotation 1: 1 of its 2 polygons", True),
        ({"segmentation": [[1, 2, 3, float("nan"), 5, 6]]}, "annotation 1: 1 of its 1 polygons", False),
        ({"segmentation": [[1, 2, 3, None, 5, 6], [{}]]}, "annotation 1: 2 of its 2 polygons", False),
        ({"category_id": [18]}, "annotation 1: 'category_id' has to be a whole number", False),
        ({"category_id": 99}, "annotation 1 names category 99", False),
        ({"image_id": 99}, "annotation 1 names picture 99", None),
    ],
)
def test_one_bad_annotation_never_stops_the_rest(tmp_path, change, message, left):
    table = json.loads(json.dumps(instances(objects=OBJECTS)))
    table["annotations"][0].update(change)
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
    (tmp_path / "instances.json").write_text(json.dumps(table))
    problems = []
    first, second = coco.read(tmp_path, problems)
    assert [str(problem) for problem in problems] == [str(problems[0])] and re.search(message, str(problems[0]))
    dogs = [r for r in first.regions if r.name == "dog"]
    assert len(dogs) == (2 if left else 1 if left is None else 0)
    # Nothing may be said about dogs where one of them could not be read, and nothing at all where it may be anything.
    known = {"person", "car"} if "category_id" not in change else set()
    assert first.vocabulary == ({"person", "car", "dog"} if left is not False else known)
    assert second.vocabulary == {"person", "car", "dog"} and all(r.mask.read().any() for r in first.regions)


def test_run_lengths_that_are_none_name_their_annotation(tmp_path):
    picture(tmp_path / "a.jpg")
    for wrong in ({"size": [H, W]}, {"size": [H, W], "counts": [1]}, {"size": [H, W], "counts": "~~"},
                  {"size": [H, None], "counts": "0"}, {"size": 5, "counts": "0"},
                  {"size": [10**6, 10**6], "counts": []},
                  {"size": [H, W], "counts": [None]}, {"size": [H, W], "counts": ["x"]},
                  {"size": [H, W], "counts": [10**30]}, {"size": [H, W], "counts": "o" * 99}):  # fmt: skip
        table = instances(objects=[entry(5, 10, 18, wrong)], pictures=("a.jpg",))
        (tmp_path / "instances.json").write_text(json.dumps(table))
        ((region,),) = (scene.regions for scene in coco.read(tmp_path))
        with pytest.raises(InputError, match=r"instances\.json: annotation 5: "):
            region.mask.read()


def test_a_polygon_far_outside_is_not_filled(tmp_path):
    """Walking along its outline would take all memory."""
    with pytest.raises(InputError, match="reaches to 1e"):
        polygons_to_mask([[0, 0, 1e12, 0, 5, 5]], H, W)


def test_names_of_other_systems_and_a_byte_order_mark(tmp_path):
    picture(tmp_path / "sub" / "cafe\u0301.JPG")
    table = instances(pictures=("sub\\caf\u00e9.jpg",))
    (tmp_path / "instances.json").write_text(json.dumps(table), encoding="utf-8-sig")
    (tmp_path / "._instances.json").write_bytes(b"\0\5")
    (scene,) = coco.read(tmp_path)
    assert scene.image.is_file()


def test_coco_files_that_are_not_there_or_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no instances\*\.json"):
        coco.read(tmp_path)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(instances()))
    with pytest.raises(FileNotFoundError, match=r"a\.jpg, is in none of"):
        coco.read(path)
    path.write_text('{"images": [],\n oops')
    with pytest.raises(ValueError, match=r"instances\.json, line 2: not JSON"):
        coco.read(path)
    (tmp_path / "instances_b.json").write_text("{}")
    with pytest.raises(ValueError, match="more than one"):
        coco.read(tmp_path)


# RefCOCO


def reference(number, image, ann, split, *sentences):
    return {
        "ref_id": number,
        "ann_id": ann,
        "image_id": image,
        "split": split,
        "category_id": 18,
        "file_name": f"COCO_train2014_000000000010_{ann}.jpg",
        "sent_ids": list(range(len(sentences))),
        "sentences": [{"sent_id": i, "sent": s, "raw": s, "tokens": s.split()} for i, s in enumerate(sentences)],
    }


REFS = [
    reference(0, 11, 6, "train", "the cat"),
    reference(1, 10, 5, "val", "lower dog", "the dog at the bottom"),
    reference(2, 10, 1, "train", "upper dog", "the dog above", "dog on top"),
    reference(3, 10, 2, "testA", "the car"),
    reference(4, 10, 1, "testA", "dog", "a dog"),
]


def published(root, refs=REFS, name="refcoco", splitter="unc", **dump):
    objects = (*OBJECTS, entry(6, 11, 18, [polygon(1, 4, 1, 4)]))
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "instances.json").write_text(json.dumps(instances(objects=objects)))
    (root / name / f"refs({splitter}).p").write_bytes(pickle.dumps(refs, **(dump or {"protocol": 2})))
    for file in ("a.jpg", "b.jpg"):
        picture(root / "images" / "train2014" / file)


def sentences(scenes):
    return [region.sentences for scene in scenes for region in scene.regions]


@pytest.mark.parametrize("alone", ["a.jpg", "b.jpg"])
@pytest.mark.parametrize("whole", ["images", "refcoco/images"])
def test_the_folder_with_most_of_the_pictures_is_taken(tmp_path, alone, whole):
    published(tmp_path)
    for place in ("images", "refcoco/images"):
        for name in ("a.jpg", "b.jpg"):
            picture(tmp_path / place / "train2014" / name)
            if place != whole and name != alone:
                (tmp_path / place / "train2014" / name).unlink()
    assert {scene.image.parent for scene in refcoco.read(tmp_path)} == {tmp_path / whole / "train2014"}


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_published_references_keep_their_order(tmp_path, protocol):
    published(tmp_path, protocol=protocol)
    scenes = of_split(refcoco.read(tmp_path), "train")
    assert sentences(scenes) == [("the cat",), ("upper dog", "the dog above", "dog on top")]
    assert [scene.image for scene in scenes] == [tmp_path / "images/train2014" / n for n in ("b.jpg", "a.jpg")]
    assert [scene.group for scene in scenes] == ["coco/11", "coco/10"]
    np.testing.assert_array_equal(scenes[1].regions[0].mask.read(), box(2, 6, 3, 8))
    assert scenes[1].regions[0].name == "dog"
    test = of_split(refcoco.read(tmp_path / "refcoco"), "testA")  # the dataset's own folder will do
    assert sentences(test) == [("the car",), ("dog", "a dog")]
    np.testing.assert_array_equal(test[0].regions[0].mask.read(), box(7, 11, 1, 5))


def test_a_pickle_of_python_2(tmp_path):
    published(tmp_path)
    # Byte strings (opcode U), unicode (X) and longs as Python 2.7 wrote them with protocol 2.
    text = b"".join(
        b"X" + len(s).to_bytes(4, "little") + s if i % 2 else b"U" + bytes([len(s)]) + s
        for i, s in ((0, b"sent"), (1, "café chair".encode()))
    )
    sentence = b"}" + text + b"s"
    keys = {b"ref_id": b"K\x00", b"ann_id": b"\x8a\x01\x01", b"image_id": b"K\x0a", b"split": b"U\x05train"}
    body = b"".join(b"U" + bytes([len(k)]) + k + v + b"s" for k, v in keys.items())
    data = b"\x80\x02]}" + body + b"U\x09sentences]" + sentence + b"asa."
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(data)
    (scene,) = of_split(refcoco.read(tmp_path), "train")
    assert scene.regions[0].sentences == ("café chair",)
    np.testing.assert_array_equal(scene.regions[0].mask.read(), box(2, 6, 3, 8))


def test_the_protocol(tmp_path):
    published(tmp_path)
    every = {
        split: refcoco.protocol(of_split(refcoco.read(tmp_path), split), split) for split in ("train", "val", "testA")
    }
    assert [(i.scene, i.region, i.sentence) for i in every["train"]] == [(0, 0, None), (1, 0, None)]
    assert [(i.scene, i.region, i.sentence) for i in every["val"]] == [(0, 0, 0)]
    assert [(i.scene, i.region, i.sentence) for i in every["testA"]] == [(0, 0, 0), (1, 0, 0), (1, 0, 1)]
    with pytest.raises(ValueError, match="the splits are"):
        refcoco.protocol([], "dev")


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (Evil(), r"(posix|nt)\.system"),
        (collections.Counter(a=1), r"collections\.Counter"),
        (np.float32(1), "numpy"),
    ],
)
def test_a_pickle_with_a_class_is_refused_by_name(tmp_path, payload, name, protocol):
    published(tmp_path, [payload, *REFS], protocol=protocol)
    with pytest.raises(ValueError, match=rf"refs\(unc\)\.p: .*it holds {name}"):
        of_split(refcoco.read(tmp_path), "train")


def test_choosing_a_dataset(tmp_path):
    published(tmp_path)
    published(tmp_path, name="refcocog", splitter="umd")
    published(tmp_path, [REFS[0]], name="refcocog", splitter="google")
    with pytest.raises(ValueError, match=r"refcoco \(unc\), refcocog \(google\), refcocog \(umd\)"):
        of_split(refcoco.read(tmp_path), "train")
    with pytest.raises(ValueError, match="more than one"):
        of_split(refcoco.read(tmp_path, dataset="refcocog"), "train")
    assert len(of_split(refcoco.read(tmp_path, dataset="refcocog", splitter="google"), "train")) == 1
    assert len(of_split(refcoco.read(tmp_path / "refcocog" / "refs(google).p"), "train")) == 1
    assert len(of_split(refcoco.read(tmp_path, splitter="unc"), "train")) == 2
    with pytest.raises(FileNotFoundError, match=r"no references of refclef.*found refcoco \(unc\)"):
        of_split(refcoco.read(tmp_path, dataset="refclef"), "train")


def test_published_errors(tmp_path):
    published(tmp_path)
    file = tmp_path / "refcoco" / "refs(unc).p"
    with pytest.raises(ValueError, match="has the splits train, val, testA, not 'test'"):
        of_split(refcoco.read(tmp_path), "test")
    published(tmp_path, [reference(7, 10, 77, "train", "x")])
    with pytest.raises(ValueError, match="reference 7: picture 10 or object 77 is not in"):
        of_split(refcoco.read(tmp_path), "train")
    published(tmp_path, [{"ref_id": 1}])
    with pytest.raises(ValueError, match="reference 0 has no ann_id, image_id, split, sentences"):
        of_split(refcoco.read(tmp_path), "train")
    published(tmp_path, [reference(7, 10, 1, "train", " ")])
    with pytest.raises(ValueError, match="reference 7 has an empty sentence"):
        of_split(refcoco.read(tmp_path), "train")
    for data in (b"", b"no pickle at all", pickle.dumps(REFS)[:50]):
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"refs\(unc\)\.p"):
            of_split(refcoco.read(tmp_path), "train")
    published(tmp_path)
    (tmp_path / "refcoco" / "instances.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"instances\.json: no such file"):
        of_split(refcoco.read(tmp_path), "train")
    published(tmp_path)
    for path in (tmp_path / "images/train2014").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.jpg .* is in none of"):
        of_split(refcoco.read(tmp_path), "train")


def prepared(root, dataset="refcocog_u", splits=("train", "val")):
    for k, split in enumerate(splits):
        (root / "anns" / dataset).mkdir(parents=True, exist_ok=True)
        entries = [
            {
                "bbox": [3, 2, 8, 6],
                "cat": 16,
                "segment_id": 10 * k + i,
                "img_name": name,
                "sentences": [{"idx": j, "sent_id": j, "sent": f"dog {i} {j}"} for j in range(i + 1)],
                "sentences_num": i + 1,
            }
            for i, name in enumerate(("b.jpg", "a.jpg"))
        ]
        (root / "anns" / dataset / f"{split}.json").write_text(json.dumps(entries))
        for i in range(2):
            mask_png(root / "masks" / dataset / f"{10 * k + i}.png", box(2 + i, 6, 3, 8))
    for file in ("a.jpg", "b.jpg"):
        picture(root / "images" / "train2014" / file)


def test_the_prepared_layout(tmp_path):
    prepared(tmp_path)
    scenes = of_split(refcoco.read(tmp_path), "val")
    assert sentences(scenes) == [("dog 0 0",), ("dog 1 0", "dog 1 1")]
    assert [scene.image.name for scene in scenes] == ["b.jpg", "a.jpg"]
    np.testing.assert_array_equal(scenes[1].regions[0].mask.read(), box(3, 6, 3, 8))
    with pytest.raises(ValueError, match="refcocog_u has the splits train, val, not 'testB'"):
        of_split(refcoco.read(tmp_path), "testB")
    prepared(tmp_path, "refcoco")
    with pytest.raises(ValueError, match=r"refcoco, refcocog_u\); .* such as .*anns/refcoco$"):
        of_split(refcoco.read(tmp_path), "val")
    assert of_split(refcoco.read(tmp_path / "anns" / "refcocog_u"), "val")[1].regions == scenes[1].regions
    shutil.rmtree(tmp_path / "anns" / "refcoco")
    path = tmp_path / "anns/refcocog_u/val.json"
    path.write_text(json.dumps([{"img_name": "a.jpg"}]))
    with pytest.raises(ValueError, match=r"val\.json: entry 0 has no segment_id, sentences"):
        of_split(refcoco.read(tmp_path), "val")


# DAVIS


def davis_tree(root, inner, suffix, videos=("bear", "surf"), frames=5):
    for video in videos:
        for i in range(frames):
            picture(root / "JPEGImages" / inner / video / f"{i:05d}{suffix}")
            mask_png(root / "Annotations" / inner / video / f"{i:05d}.png", box(0, 1 + i, 0, 4))


@pytest.mark.parametrize(("inner", "suffix"), [("480p", ".jpg"), ("", ".webp")])
def test_davis(tmp_path, inner, suffix):
    davis_tree(tmp_path, inner, suffix)
    scenes = stride(davis.read(tmp_path), 2)
    assert [(scene.group, scene.image.stem) for scene in scenes] == [
        (f"davis/{video}", stem) for video in ("bear", "surf") for stem in ("00000", "00002", "00004")
    ]
    assert scenes[0].regions[0].name == "bear" and scenes[0].regions[0].sentences == ()
    np.testing.assert_array_equal(scenes[2].regions[0].mask.read(), box(0, 5, 0, 4))
    table = 'video,expression,note\nsurf,a surfer,x\nsurf,"wind, and waves",y\n'
    (tmp_path / "expressions.csv").write_text(table)
    assert davis.read(tmp_path)[-1].regions[0].sentences == ("a surfer", "wind, and waves")


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("480p", "/JPEGImages/480p/surf/00000.jpg /Annotations/480p/surf/00000.png\n"),
        ("2016", "surf\n"),
    ],
)
def test_davis_split(tmp_path, where, text):
    davis_tree(tmp_path, "480p", ".jpg")
    (tmp_path / "ImageSets" / where).mkdir(parents=True)
    (tmp_path / "ImageSets" / where / "val.txt").write_text(text)
    assert {scene.group for scene in of_split(davis.read(tmp_path), "val")} == {"davis/surf"}
    with pytest.raises(ValueError, match="davis has the splits val, not 'train'"):
        of_split(davis.read(tmp_path), "train")


def test_davis_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder JPEGImages"):
        davis.read(tmp_path)
    davis_tree(tmp_path, "480p", ".jpg")
    (tmp_path / "expressions.csv").write_text("video,expression\nbear,a bear\nsurf,\n")
    with pytest.raises(ValueError, match=r"expressions\.csv, line 3: .*empty"):
        davis.read(tmp_path)
    (tmp_path / "expressions.csv").write_text("clip,expression\n")
    with pytest.raises(ValueError, match="line 1: no column video"):
        davis.read(tmp_path)
    (tmp_path / "expressions.csv").unlink()
    (tmp_path / "Annotations/480p/bear/00003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"00003\.png: no such file"):
        davis.read(tmp_path)


def test_davis_on_the_real_videos(shared_data):
    train = stride(davis.read(shared_data / "davis16-train"), 2)  # every eighth frame
    assert len(train) == 270 and len({scene.group for scene in train}) == 30
    assert all(scene.regions[0].name for scene in train)
    official = stride(davis.read(shared_data / "davis16"), 20)
    assert {s.group for s in official if s.regions[0].sentences} >= {"davis/goat", "davis/dog"}
    mask = official[0].regions[0].mask.read()
    assert mask.shape == (480, 854) and 0.01 < mask.mean() < 0.5


# A folder of one's own


def own(root, table, pictures=("a.jpg", "b.png")):
    (root / "sentences.csv").write_text(table, encoding="utf-8")
    for name in pictures:
        picture(root / "images" / name)
        mask_png((root / "masks" / name).with_suffix(".png"), box(2, 6, 3, 8))
    numbered = np.zeros((H, W), np.uint8)
    numbered[:3], numbered[5:7] = 1, 2
    mask_png(root / "masks" / "two.png", numbered)


def test_folder(tmp_path):
    own(
        tmp_path,
        "\ufeffimage,sentence,mask,value,notes\n"
        "b.png,the thing,,,\n"
        'a.jpg,"big, red, round",two.png,2,mine\n'
        "\n"
        "a.jpg,the other,two.png,1,\n"
        "a.jpg,again the second,two.png,2,\n"
        "a.jpg,any,two.png,,\n",
    )
    b, a = folder.read(tmp_path)
    assert (b.image.name, b.group, sentences([b])) == ("b.png", "folder/b.png", [("the thing",)])
    np.testing.assert_array_equal(b.regions[0].mask.read(), box(2, 6, 3, 8))
    assert sentences([a]) == [("big, red, round", "again the second"), ("the other",), ("any",)]
    assert [int(region.mask.read().sum()) for region in a.regions] == [2 * W, 3 * W, 5 * W]


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("image,sentence\na.jpg,one\na.jpeg,two\n", 3, r"no picture .*a\.jpeg \(did you mean a\.jpg\?\)"),
        ('image,sentence\na.jpg,"two\nlines"\na.jpg,\n', 4, "the sentence is empty"),
        ("image,sentence\n,x\n", 2, "the image is empty"),
        ("image,sentence\na.jpg,red, round\n", 2, "double quotes"),
        ("image,sentence\na.jpg\n", 2, "1 columns, but the first line names 2"),
        ("image,sentence,mask\na.jpg,x,tow.png\n", 2, r"no mask .*did you mean two\.png"),
        ("image,sentence,value\na.jpg,x,red\n", 2, "whole number from 1 to 65535, not 'red'"),
        ("image,sentence,value\na.jpg,x,0\n", 2, "whole number"),
        ("image;sentence\nb.png;x\na.jpeg;x\n", 3, "no picture"),
        ("sep=;\nimage;sentence\na.jpeg;x\n", 3, "no picture"),
        ("picture,sentence\na.jpg,x\n", 1, "no column image"),
        ("image,sentence,maks\na.jpg,x,\n", 1, "did you mean 'mask'"),
        ("image,sentence,sentence\na.jpg,x,\n", 1, "twice"),
        ('image,sentence\na.jpg,x\na.jpg,"never closed\nb.png,y\n', 3, "quote"),
        ("image,sentence\n", 1, "no rows"),
    ],
)
def test_folder_errors_name_the_line(tmp_path, table, line, message):
    own(tmp_path, table)
    with pytest.raises(ValueError, match=rf"sentences\.csv, line {line}: .*{message}"):
        folder.read(tmp_path)


def test_folder_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sentences\.csv: no such file"):
        folder.read(tmp_path)
    (tmp_path / "sentences.csv").write_bytes(b"image,sentence\na.jpg,ok\na.jpg,caf\xe9\n")
    for name in ("images", "masks"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such folder"):
            folder.read(tmp_path)
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="line 3: not UTF-8"):
        folder.read(tmp_path)


def test_fixtures_agree_with_the_rasteriser():
    np.testing.assert_array_equal(polygons_to_mask([polygon(2, 6, 3, 8)], H, W), box(2, 6, 3, 8))
