"""Readers of rating studies, on small trees in the official layouts, and the album of a user."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percepta.datasets import album, flickr_aes, layouts, oasis, para
from percepta.datasets.problem import Problem
from percepta.datasets.ratings import Field, Scale, Study
from percepta.datasets.tables import read_table

finite = st.floats(-50, 50)


def write(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def small(seed: int, people: int = 5, pictures: int = 7, n: int = 40) -> Study:
    rng = np.random.default_rng(seed)
    return Study(
        name="toy",
        pictures=tuple(Path(f"{i}.jpg") for i in range(pictures)),
        groups=tuple(str(i // 2) for i in range(pictures)),
        people=tuple(f"p{i}" for i in range(people)),
        profiles=tuple({"age": float(i)} for i in range(people)),
        fields=(Field("age", "number"),),
        scale=Scale(1, 5, 1),
        rater=rng.integers(people, size=n),
        picture=rng.integers(pictures, size=n),
        score=rng.integers(1, 6, size=n).astype(float),
        line=np.arange(n) + 2,
        attributes={"colour": rng.random(n)},
        crowd={"mean": rng.random(pictures)},
    )


# ---- scales and fields


@given(st.integers(-5, 5), st.integers(1, 40), st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 1]), finite)
def test_snap_finds_the_nearest_allowed_score_and_stays_there(low, spread, step, score):
    scale = Scale(float(low), low + spread / 4, min(step, spread / 4))
    snapped = scale.snap(score)
    assert scale.has(snapped) and scale.snap(snapped) == snapped
    assert scale.low <= snapped <= scale.high
    if scale.step:
        allowed = scale.low + scale.step * np.arange(1000)
        allowed = allowed[allowed <= scale.high + 1e-6]
        assert abs(snapped - score) <= np.abs(allowed - score).min() + 1e-6
    assert scale.from_unit(scale.unit(snapped)) == pytest.approx(snapped, abs=1e-9)
    assert 0 <= scale.unit(snapped) <= 1


def test_scale():
    scale = Scale(1, 5, 0.5)
    assert [scale.has(x) for x in (1.0, 4.5, 5.0, 4.4999999, 4.4, 0.5, 5.5, math.nan, math.inf)] == [True] * 4 + [
        False
    ] * 5
    assert (scale.snap(2.25), scale.snap(-3.0), scale.snap(9.0)) == (2.5, 1.0, 5.0)
    assert Scale(1, 5).has(3.14159) and not Scale(1, 5).has(5.1)
    assert scale.unit(np.array([1.0, 3.0, 5.0])).tolist() == [0, 0.5, 1]
    with pytest.raises(ValueError, match="NaN"):
        scale.snap(math.nan)
    for wrong in ((5, 1, 0), (1, 1, 0), (1, 5, -1), (1, 5, 6), (1, math.inf, 0)):
        with pytest.raises(ValueError):
            Scale(*map(float, wrong))


def test_fields_read_text_and_numbers_and_say_what_they_expected():
    gender, age = Field("gender", "choice", ("male", "female")), Field("age", "number", low=0, high=120)
    assert (gender.read("Female "), age.read("34"), age.read(34)) == ("female", 34.0, 34.0)
    assert Field("education", "choice", ("1", "2")).read(2) == "2"
    assert Field("mood", "number").read(-1e9) == -1e9
    with pytest.raises(ValueError, match=r"gender: expected one of male, female, got 'femal' \(did you mean 'female'"):
        gender.read("femal")
    for wrong in ("old", 121, -1, True, None, [3], "nan"):
        with pytest.raises(ValueError, match="age: expected a number from 0 to 120, got"):
            age.read(wrong)


# ---- studies


@given(st.integers(0, 50))
def test_matrix_and_means_are_what_loops_make_of_them(seed):
    study = small(seed)
    matrix, (mean, count) = study.matrix(), study.means()
    assert matrix.shape == (5, 7)
    for i in range(5):
        for j in range(7):
            given_ = [s for r, p, s in zip(study.rater, study.picture, study.score, strict=True) if (r, p) == (i, j)]
            assert matrix[i, j] == pytest.approx(np.mean(given_)) if given_ else math.isnan(matrix[i, j])
    for j in range(7):
        given_ = study.score[study.picture == j]
        assert count[j] == len(given_)
        assert mean[j] == pytest.approx(given_.mean()) if len(given_) else math.isnan(mean[j])


@given(st.integers(0, 50), st.permutations(range(5)), st.permutations(range(7)), st.integers(0, 5), st.integers(0, 7))
def test_a_subset_is_the_same_rows_and_columns_of_the_matrix(seed, people, pictures, a, b):
    study = small(seed)
    part = study.subset(people[:a], np.array(pictures[:b], int))
    np.testing.assert_allclose(part.matrix(), study.matrix()[people[:a]][:, pictures[:b]])
    assert part.people == tuple(study.people[i] for i in people[:a])
    assert part.profiles == tuple(study.profiles[i] for i in people[:a])
    assert part.pictures == tuple(study.pictures[i] for i in pictures[:b])
    assert part.crowd["mean"].tolist() == study.crowd["mean"][pictures[:b]].tolist()
    lines = dict(zip(study.line, study.attributes["colour"], strict=True))
    assert [lines[line] for line in part.line] == part.attributes["colour"].tolist()
    assert len(study.subset(people=[2]).pictures) == 7 and len(study.subset(pictures=[1]).people) == 5


def test_studies_and_subsets_that_do_not_fit_are_refused():
    study = small(0)
    for index in ([5], [-1], [1, 1]):
        with pytest.raises(ValueError, match="people"):
            study.subset(people=index)
    for change in (
        {"groups": ("a",)},
        {"people": ("p0",) * 5},
        {"rater": study.rater + 5},
        {"attributes": {"colour": np.zeros(3)}},
        {"crowd": {"mean": np.zeros(3)}},
    ):
        # With the shapes checked at run time jaxtyping may find the lengths first, with an error of its own.
        with pytest.raises((ValueError, TypeError)):
            Study(**{**study.__dict__, **change})


# ---- tables


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_however_a_spreadsheet_wrote_them(tmp_path, mark, start, end):
    rows = [[" File", "note", "SCORE "], ["a.jpg", f"a{mark}b", " 4 "], [], ['"b\nb".jpg', "", "5"], ["c", "", "1"]]
    path = tmp_path / "t.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(start)
        csv.writer(file, delimiter=mark, lineterminator=end).writerows(rows)
    read = list(read_table(path, ("file", "score"), ("note", "none")))
    assert read == [(2, ("a.jpg", "4", f"a{mark}b", "")), (4, ('"b\nb".jpg', "5", "", "")), (6, ("c", "1", "", ""))]


def test_tables_that_cannot_be_read(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(FileNotFoundError, match="no such file; expected a table with columns a, b"):
        list(read_table(path, ("a", "b")))
    for text, message in (
        ("", "no header"),
        ("a,c\n1,2\n", "line 1: no column b; the first line names the columns and must hold a, b; it has a, c"),
        ("a;b;b\n", "column b comes twice"),
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 columns, but the first line names 2"),
        ('a,b\n1,2\n1,"2"x\n', "line 3: not a row of a CSV"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            list(read_table(path, ("a", "b")))
        assert isinstance(caught.value.args[0], Problem) and caught.value.args[0].file == path
    path.write_bytes(b"a,b\n1,2\n\xe9,3\n")
    with pytest.raises(ValueError, match="line 3: not UTF-8"):
        list(read_table(path, ("a", "b")))
    path.write_text("a,b\n1,2\n1,2,3\n3,4\n")
    problems: list[Problem] = []
    assert [line for line, _ in read_table(path, ("a", "b"), problems=problems)] == [2, 4]
    assert [p.line for p in problems] == [3]


# ---- OASIS


@pytest.fixture
def oasis_tree(tmp_path):
    write(
        tmp_path / "raters.csv",
        "rater,age,gender,education,mood_1,TEPS_ant,TEPS_con",
        "1,22,1,4,19,2.9,3.125",
        "7,40,2,5,75,,",
        "9,30,3,1,50,4,4",
    )
    write(
        tmp_path / "images.csv",
        "item,file,theme,category,caption,mean,sd,n",
        '1,Acorns1.jpg,Acorns 1,Object,"Two, small",4.8,1.5,3',
        "2,Acorns2.jpg,Acorns2,Object,Three,4.1,1.4,3",
        "5,Dog 12.jpg,Dog 12,Animal,A dog,4,1,3",
    )
    write(tmp_path / "ratings.csv", "rater,item,trial,score", "1,1,1,7", "1,5,2,1", "7,2,1,4", "9,5,1,6")
    return tmp_path


def test_oasis(oasis_tree):
    study = oasis.study(oasis_tree)
    assert study.people == ("1", "7", "9") and study.groups == ("acorns", "acorns", "dog")
    assert study.pictures[2] == oasis_tree / "images" / "Dog 12.jpg"
    assert study.profiles[0]["gender"] == "male" and study.profiles[2]["gender"] == "other"
    assert study.profiles[1] == {"age": 40, "gender": "female", "education": "5", "mood": 75}
    assert set(study.profiles[0]) == {about.name for about in study.fields}
    assert study.line.tolist() == [2, 3, 4, 5]
    expected = [[7, math.nan, 1], [math.nan, 4, math.nan], [math.nan, math.nan, 6]]
    np.testing.assert_array_equal(study.matrix(), expected)


def test_oasis_names_bad_rows(oasis_tree):
    with (oasis_tree / "ratings.csv").open("a") as file:
        file.write("3,1,1,4\n1,2,1,4.5\n1,99,1,4\n9,1,1,x\n3,2,1,4\n9,1,2,8\n")
    with (oasis_tree / "raters.csv").open("a") as file:
        file.write("9,1,1,1,1,1,1\n10,old,1,1,1,1,1\n")
    with pytest.raises(ValueError, match=r"raters.csv, line 5: rater '9' is in line 4 already"):
        oasis.study(oasis_tree)
    problems: list[Problem] = []
    study = oasis.study(oasis_tree, problems)
    found = {(p.file.name, p.line): p.message for p in problems}
    assert set(found) == {("raters.csv", 5), ("raters.csv", 6), *(("ratings.csv", n) for n in (6, 7, 8, 9, 11))}
    assert found["ratings.csv", 6] == "rater '3' is not in raters.csv (and 1 more row)"
    assert found["ratings.csv", 7] == "a score is 1 to 7 in steps of 1, not '4.5'"
    assert "age: expected a number from 0 to 120, got 'old'" in found["raters.csv", 6]
    assert study.people[3] == "10" and "age" not in study.profiles[3] and len(study.score) == 4


def test_the_real_oasis(shared_data):
    root = shared_data / "oasis"
    study = oasis.study(root)
    assert (len(study.people), len(study.pictures), len(study.score)) == (657, 460, 77236)
    with (root / "images.csv").open(newline="") as file:
        stated = list(csv.DictReader(file))
    mean, count = study.means()
    assert count.tolist() == [int(row["n"]) for row in stated]
    np.testing.assert_allclose(mean, [float(row["mean"]) for row in stated], atol=1e-4)
    assert all(path.is_file() for path in study.pictures)
    assert len(study.score) == np.isfinite(study.matrix()).sum()  # nobody rated a picture twice


# ---- PARA

PARA_COLUMNS = (
    "sessionId,imageName,userId,aestheticScore,qualityScore,compositionScore,colorScore,dofScore,contentScore,"
    "lightScore,isObjectEmphasis,imgEmotion,difficultyOfJudgment,contentPreference,willingnessToShare,semantic"
)


@pytest.fixture
def para_tree(tmp_path):
    notes = tmp_path / "annotation"
    write(
        notes / "PARA-UserInfo.csv",
        "userId,age,gender,EducationalLevel,artExperience,photographyExperience,"
        "personality-E,personality-A,personality-N,personality-O,personality-C",
        "A1,22-25,female,university,beginner,competent,5,6,7,8,9",
        "B2,35-40,male,junior_college,expert,proficient,1,10,2,3,4",
    )
    write(
        notes / "PARA-Images.csv",
        PARA_COLUMNS,
        "session1,iaa_pub1_.jpg,A1,3.5,3.0,3,4,3,2,1,1,joy,-1.0,4,5,scene",
        "session1,iaa_pub1_.jpg,B2,2.0,2.7,3,4,3,2,1,0,awe,1,4,5,scene",
        "session2,iaa_pub9_.jpg,A1,5.0,3.2,3,,3,2,1,0,,0,4,5,food",
    )
    for name, picture, mean in (("Train", "session1,iaa_pub1_.jpg", 2.75), ("Test", "session2,iaa_pub9_.jpg", 5)):
        session, file = picture.split(",")
        write(
            notes / f"PARA-Giaa{name}.csv",
            "imageName,sessionId,semantic,aestheticScore_1.0,aestheticScore_mean,aestheticScore_std,qualityScore_mean",
            f"{file},{session},scene,0,{mean},0.2,3.25",
        )
    return tmp_path


def test_para(para_tree):
    warnings: list[Problem] = []
    study = para.study(para_tree, warnings=warnings)
    assert study.people == ("A1", "B2") and study.groups == ("session1", "session2")
    assert study.pictures[1] == para_tree / "imgs" / "session2" / "iaa_pub9_.jpg"
    np.testing.assert_array_equal(study.matrix(), [[3.5, 5], [2, math.nan]])
    assert len(study.attributes) == len(para.ATTRIBUTES) + 4
    assert study.attributes["qualityScore"].tolist() == [3, 3, 3]
    (warning,) = warnings
    assert warning.line == 3 and warning.message.startswith("qualityScore off the grid (1 to 5 in steps of 1)")
    assert "(and 1 more row)" in warning.message
    np.testing.assert_array_equal(study.attributes["colorScore"], [4, 4, math.nan])
    assert study.attributes["difficultyOfJudgment"].tolist() == [-1, 1, 0]
    assert study.labels == {"imgEmotion": ("awe", "joy"), "semantic": ("food", "scene")}
    np.testing.assert_array_equal(study.attributes["imgEmotion"], [1, 0, math.nan])
    assert study.crowd["aestheticScore"].tolist() == [2.75, 5] and set(study.crowd) == {
        "aestheticScore",
        "qualityScore",
    }
    tenths = para.study(para_tree, quality=Scale(1, 5, 0.1)).attributes["qualityScore"]
    np.testing.assert_allclose(tenths, [3, 2.7, 3.2], rtol=1e-6)
    assert para.official_split(para_tree) == (("iaa_pub1_.jpg",), ("iaa_pub9_.jpg",))
    para_tree.rename(para_tree.with_name("PARA"))  # as some archives unpack: one folder more
    assert len(para.study(para_tree.parent).score) == 3


def test_para_names_bad_rows(para_tree):
    path = para_tree / "annotation" / "PARA-Images.csv"
    rest = "3,3,3,3,3,3,0,joy,0,4,5,scene"
    with path.open("a") as file:
        file.write(f"s,a.jpg,Z9,3.0,{rest}\ns,a.jpg,A1,3.2,{rest}\ns,a.jpg,B2,3.0,{rest.replace('5', '6')}\n")
    with pytest.raises(ValueError, match=r"PARA-Images.csv, line 6: aestheticScore|line 6: an aestheticScore is"):
        write(para_tree / "annotation" / "PARA-UserInfo.csv", *_with_user(para_tree, "Z9"))
        para.study(para_tree)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    study = para.study(para_tree, problems, warnings)
    assert [p.line for p in problems] == [6] and "not '3.2'" in problems[0].message
    assert len(study.score) == 5
    assert [w.line for w in warnings] == [3, 7] and "willingnessToShare" in warnings[1].message
    assert math.isnan(study.attributes["willingnessToShare"][-1])
    (para_tree / "annotation" / "PARA-GiaaTest.csv").write_text("imageName,sessionId\niaa_pub1_.jpg,session1\n")
    with pytest.raises(ValueError, match="in both lists"):
        para.official_split(para_tree)


def _with_user(root: Path, user: str) -> list[str]:
    rows = (root / "annotation" / "PARA-UserInfo.csv").read_text().splitlines()
    return [*rows, rows[-1].replace("B2", user)]


@given(st.data())
def test_traits(data):
    profile = {about.name: data.draw(st.sampled_from(about.choices)) for about in para.FIELDS if about.choices}
    five = data.draw(st.lists(st.integers(1, 10), min_size=5, max_size=5))
    profile |= dict(zip([about.name for about in para.FIELDS if not about.choices], map(float, five), strict=True))
    raw, one_hot = para.traits(profile), para.traits(profile, "one-hot")
    assert raw.shape == (25,) and one_hot.shape == (70,)
    assert raw[:20].tolist() == one_hot[:20].tolist() and raw[20:].tolist() == five
    assert one_hot[20:].reshape(5, 10).argmax(1).tolist() == [v - 1 for v in five] and one_hot.sum() == 10
    for start, stop in ((0, 5), (5, 7), (7, 12), (12, 16), (16, 20)):
        assert raw[start:stop].sum() == 1
    on = {name for name, value in zip(para.trait_names("one-hot"), one_hot, strict=True) if value}
    assert on == {f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in profile.items()}


def test_traits_that_are_missing_or_wrong():
    assert not para.traits({}).any() and len(para.trait_names()) == 25
    assert para.trait_names()[20:] == tuple(f"personality-{letter}" for letter in "EANOC")
    for profile, kind, message in (
        ({}, "both", "big_five"),
        ({"age": "50"}, "raw", "age: expected one of"),
        ({"shoe": "50"}, "raw", "no field shoe"),
        ({"personality-E": 11.0}, "raw", "from 1 to 10"),
        ({"personality-E": 2.5}, "one-hot", "whole number"),
    ):
        # With types checked at run time a kind that does not exist is found before the function sees it.
        with pytest.raises((ValueError, TypeError), match=message):
            para.traits(profile, kind)  # pyright: ignore[reportArgumentType]


def test_a_table_of_the_size_of_para_is_read_in_seconds(para_tree):
    row = "session{0},iaa_pub{1}_.jpg,{2},3.5,3.{3},3,4,3,2,1,1,joy,-1.0,4,5,scene"
    rows = (row.format(i // 1700, i // 25, "A1" if i % 25 else "B2", i % 10) for i in range(40_000))
    write(para_tree / "annotation" / "PARA-Images.csv", PARA_COLUMNS, *rows)
    start = time.process_time()
    assert len(para.study(para_tree).score) == 40_000
    assert time.process_time() - start < 40_000 / 800_000 * 60  # 15 s for all of PARA, and a factor for slow machines


# ---- FLICKR-AES


@pytest.mark.parametrize("space", ["", " "])
def test_flickr_aes(tmp_path, space):
    write(
        tmp_path / flickr_aes.TABLE, f"worker,{space}imagePair,{space}score", f"W1,{space}a.jpg,{space}5", "W2,a.jpg,1"
    )
    write(tmp_path / flickr_aes.SCORES, f"{space}a.jpg 0.75", "b.jpg 0.5")
    folder = tmp_path / ("40K" if space else "pictures")
    write(folder / f"{space}a.jpg", "x")
    study = flickr_aes.study(tmp_path)
    assert study.people == ("W1", "W2") and study.profiles == ({}, {}) and study.groups == ("a.jpg",)
    assert study.pictures[0].is_file()
    assert study.score.tolist() == [5, 1] and study.crowd["score"].tolist() == [0.75]
    write(tmp_path / flickr_aes.TABLE, "worker,imagePair,score", "W1,a.jpg,6", "W2,,3", "W2,a.jpg,3")
    problems: list[Problem] = []
    assert len(flickr_aes.study(tmp_path, problems).score) == 1
    assert [p.line for p in problems] == [2, 3]
    with pytest.raises(ValueError, match=r"line 2: a score is 1 to 5 in steps of 1, not '6'"):
        flickr_aes.study(tmp_path)


def test_flickr_aes_needs_one_folder_of_pictures(tmp_path):
    write(tmp_path / flickr_aes.TABLE, "worker,imagePair,score", "W1,a.jpg,5")
    with pytest.raises(FileNotFoundError, match="40K: no such folder"):
        flickr_aes.study(tmp_path)
    write(tmp_path / "one" / "a.jpg", "x")
    write(tmp_path / "two" / "a.jpg", "x")
    with pytest.raises(ValueError, match="one, two"):
        flickr_aes.study(tmp_path)


# ---- album

file_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=60)
@given(st.dictionaries(file_names, st.floats(-1e6, 1e6), max_size=8))
def test_what_is_written_is_read(tmp_path_factory, ratings):
    path = tmp_path_factory.mktemp("album") / "ratings.csv"
    ratings = {name: score for name, score in ratings.items() if name.strip()}
    album.write_ratings(path, ratings)
    read = album.read_ratings(path, None, Scale(-1e6, 1e6))
    assert read == ratings and list(read) == list(ratings)
    assert album.read_ratings(path, list(ratings), Scale(-1e6, 1e6)) == ratings
    assert [p.name for p in path.parent.iterdir()] == ["ratings.csv"]


def test_scores_are_written_plainly_and_nothing_bad_is_written(tmp_path):
    path = tmp_path / "ratings.csv"
    album.write_ratings(path, {"a.jpg": 4.0, "b.jpg": 3.5, "c.jpg": 5})
    assert path.read_text() == "file,score\na.jpg,4\nb.jpg,3.5\nc.jpg,5\n"
    for wrong in ({"": 3.0}, {"a.jpg": math.nan}, {"a\0.jpg": 3.0}, {os.fsdecode(b"\xff.jpg"): 3.0}):
        with pytest.raises(ValueError):
            album.write_ratings(path, wrong)
    (tmp_path / "link.csv").symlink_to(path)
    album.write_ratings(tmp_path / "link.csv", {"d.jpg": 1.0})
    assert path.read_text() == "file,score\nd.jpg,1\n" and (tmp_path / "link.csv").is_symlink()
    with pytest.raises(OSError):
        album.write_ratings(tmp_path / "no" / "ratings.csv", {"a.jpg": 1.0})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.csv", "ratings.csv"]


def test_a_write_that_fails_leaves_the_old_file_and_one_that_works_never_touches_it(tmp_path, monkeypatch):
    path = tmp_path / "ratings.csv"
    album.write_ratings(path, {"a.jpg": 1.0})
    path.chmod(0o600)
    old = tmp_path / "old"
    old.hardlink_to(path)
    album.write_ratings(path, {"a.jpg": 2.0})
    assert old.read_text() == "file,score\na.jpg,1\n"  # overwritten in place, the second name would show it
    assert path.read_text() == "file,score\na.jpg,2\n" and path.stat().st_mode & 0o777 == 0o600

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        album.write_ratings(path, {"a.jpg": 3.0})
    assert path.read_text() == "file,score\na.jpg,2\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "ratings.csv"]


@pytest.mark.parametrize("text", ["\ufefffile;score\na.jpg;3,5\nb.jpg;4\n", "Score,File\n3.5, a.jpg\n4,b.jpg\n"])
def test_ratings_from_a_spreadsheet(tmp_path, text):
    path = tmp_path / "ratings.csv"
    path.write_text(text, encoding="utf-8")
    assert album.read_ratings(path, ["b.jpg", "a.jpg"], album.STARS) == {"a.jpg": 3.5, "b.jpg": 4}


@pytest.mark.parametrize("name", ["é.jpg", "海滩.jpg", "пляж.jpg", "شاطئ.jpg", "ビーチ.jpg", "Ä Ö.jpg"])
@pytest.mark.parametrize(("disk", "table"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_in_any_script_and_either_form_of_unicode(tmp_path, name, disk, table):
    on_disk = unicodedata.normalize(disk, name)
    write(tmp_path / on_disk, "x")
    write(tmp_path / "ratings.csv", "file,score", f"{unicodedata.normalize(table, name)},4")
    study = album.study(tmp_path)
    assert study.pictures == (tmp_path / on_disk,) and study.score.tolist() == [4]


def test_bad_ratings_are_named(tmp_path):
    names = ["beach.jpg", "dog.jpg", "cat.jpg"]
    path = write(
        tmp_path / "ratings.csv",
        "file,score",
        *("beach.jpg,4", "beech.jpg,3", "dog.jpg,good", "dog.jpg,6", "cat.jpg,2.25", "beach.jpg,4", "beach.jpg,5"),
        *(",3", "cat.jpg,2"),
    )
    problems: list[Problem] = []
    warnings: list[Problem] = []
    assert album.read_ratings(path, names, album.STARS, problems, warnings) == {"beach.jpg": 4, "cat.jpg": 2}
    assert [p.line for p in problems] == [3, 4, 5, 6, 8, 9]
    assert problems[0].message == "no picture 'beech.jpg' in the album (did you mean 'beach.jpg'?)"
    assert problems[1].message == "a score is a number from 1 to 5 in steps of 0.5, not 'good'"
    assert problems[4].message == "'beach.jpg' has score 5 here and 4 in line 2; keep one of them"
    assert [(w.line, w.message) for w in warnings] == [(7, "'beach.jpg' has the same score in line 2 already")]
    with pytest.raises(ValueError, match=r"ratings.csv, line 3: no picture 'beech.jpg'"):
        album.read_ratings(path, names, album.STARS)


def test_need_variety():
    album.need_variety({"a": 1.0, "b": 2.0})
    for ratings, message in (({}, "got no ratings"), ({"a": 3.0, "b": 3.0}, r"got 2 rating\(s\), all 3; rate")):
        with pytest.raises(ValueError, match=message):
            album.need_variety(ratings)


def test_profiles(tmp_path):
    fields = tuple(oasis.COLUMNS.values())
    path = write(tmp_path / "profile.json", json.dumps({"age": 34, "gender": "Female", "education": 4, "mood": None}))
    assert album.read_profile(path, fields) == {"age": 34, "gender": "female", "education": "4"}
    for text, message in (
        ('{"aeg": 34}', r"no field 'aeg' \(did you mean 'age'\?\); a profile may hold age, gender, education"),
        ('{"age": "old"}', "age: expected a number from 0 to 120, got 'old'"),
        ('{"age": true}', "age: expected a number"),
        ("[1]", "expected a JSON object, got a list"),
        ('{"age":\n 3', "line 2: not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            album.read_profile(path, fields)
        assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file; a profile is a JSON object"):
        album.read_profile(tmp_path / "none.json", fields)


def test_an_album_as_a_study(tmp_path):
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt", "sub/c.jpg"):
        write(tmp_path / name, "x")
    assert [p.name for p in album.pictures(tmp_path)] == ["a.png", "b.JPG"]
    assert len(album.study(tmp_path).score) == 0
    write(tmp_path / "ratings.csv", "file,score", "b.JPG,2.5")
    write(tmp_path / "profile.json", '{"age": 34}')
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir() if p.is_file()}
    study = album.study(tmp_path, fields=tuple(oasis.COLUMNS.values()))
    assert study.profiles == ({"age": 34},) and study.people == ("me",)
    assert (study.picture.tolist(), study.score.tolist(), study.line.tolist()) == ([1], [2.5], [2])
    assert album.study(tmp_path).profiles == ({},)
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir() if p.is_file()} == before
    write(tmp_path / "profile.json", "{")
    problems: list[Problem] = []
    album.study(tmp_path, problems, fields=study.fields)
    assert [(p.file.name, p.line) for p in problems] == [("profile.json", 2)]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        album.pictures(tmp_path / "none")
    with pytest.raises(NotADirectoryError, match="a file; give the folder"):
        album.pictures(tmp_path / "a.png")


def test_oasis_says_what_it_is(tmp_path, oasis_tree):
    (found,) = layouts.find(oasis_tree, Study)
    assert found.set is oasis and found.read(found.root, [], []).name == "oasis"
    inside = tmp_path / "around" / "oasis"
    inside.mkdir(parents=True)
    for path in oasis_tree.glob("*.csv"):
        path.rename(inside / path.name)
    (found,) = layouts.find(inside.parent, Study)
    assert found.set is oasis and found.root == inside, "one folder down"


def test_para_and_flickr_aes_say_what_they_are(tmp_path, para_tree):
    (found,) = layouts.find(para_tree, Study)
    assert found.set is para and found.read(found.root, [], []).name == "para"
    write(tmp_path / "flickr" / flickr_aes.TABLE, "worker, imagePair, score")
    (found,) = layouts.find(tmp_path / "flickr", Study)
    assert found.set is flickr_aes


def test_an_album_says_what_it_is(tmp_path):
    write(tmp_path / "a.png", "x")
    write(tmp_path / "profile.json", '{"age": 34}')
    (found,) = layouts.find(tmp_path, Study)
    assert found.set is album and found.read(tmp_path).profiles == ({"age": 34},)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match="no layout") as caught:
        layouts.find(tmp_path, Study)
    for module in (para, flickr_aes, oasis, album):
        assert f"{module.NAME}: {module.FILES}" in str(caught.value)


WRITER = """
import sys
from pathlib import Path
from percepta.datasets.album import write_ratings
assert "torch" not in sys.modules
for i in range(10**9):
    write_ratings(Path(sys.argv[1]), {f"{k}.jpg": i for k in range(1 + i % 300)})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_kill_9_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "ratings.csv"
    rng = random.Random(0)
    seen = set()
    for _ in range(6):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as process:
            deadline = time.monotonic() + 30
            while not path.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.08))
            process.kill()
        read = album.read_ratings(path, None, Scale(0, 1e9))
        (written,) = set(read.values())
        assert list(read) == [f"{k}.jpg" for k in range(1 + int(written) % 300)]
        seen.add(written)
    assert len(seen) > 1
