"""`percepta data aesthetics check` finds what was broken on purpose and names it by file and line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from percepta.datasets import flickr_aes
from percepta.systems.aesthetics.check import check

PEOPLE = 6


def picture(path, level=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(level).integers(0, 40, (24, 32, 3))
    Image.fromarray((noise + level).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def study(tmp_path):
    """Six people and four pictures; picture k is liked by k + 1, people differ by at most one."""
    (tmp_path / "raters.csv").write_text(
        "rater,age,gender,education,mood_1,TEPS_ant,TEPS_con\n"
        + "".join(f"{i},3{i},{1 + i % 2},4,50,4,4\n" for i in range(PEOPLE))
    )
    (tmp_path / "images.csv").write_text(
        "item,file,theme,category,caption,mean,sd,n\n"
        + "".join(f"{k},pic{k}.jpg,Pic {k},Object,A thing.,4,1,6\n" for k in (3, 1, 0, 2))
    )
    rows = [f"{i},{k},1,{1 + k + (i + k) % 2}\n" for i in range(PEOPLE) for k in range(4)]
    (tmp_path / "ratings.csv").write_text("rater,item,trial,score\n" + "".join(rows))
    for k in range(4):
        picture(tmp_path / "images" / f"pic{k}.jpg", 40 * k)
    return tmp_path


def test_a_good_study(study):
    calls = []
    report = check(study, progress=lambda done, total: calls.append((done, total)))
    assert report.ok and report.warnings == () and report.layout == "OASIS", report.text()
    assert report.counts == {"people": 6, "pictures": 4, "ratings": 24, "ratings per person (median)": 4}
    assert calls == [(i + 1, 4) for i in range(4)]
    assert [path.name for path, _, _ in report.examples] == [f"pic{k}.jpg" for k in range(4)]
    assert [mean for _, mean, _ in report.examples] == [1.5, 2.5, 3.5, 4.5]
    assert "Ready to train." in report.text()
    assert report.sheet(columns=2, width=600).width == 600
    assert [path.name for path, _, _ in check(study, examples=2).examples] == ["pic0.jpg", "pic3.jpg"]


def test_problems_are_named_by_file_and_line(study):
    (study / "images" / "pic1.jpg").unlink()
    (study / "images" / "pic2.jpg").write_bytes(b"")
    (study / "images" / "pic3.jpg").write_bytes((study / "images" / "pic3.jpg").read_bytes()[:300])
    with (study / "ratings.csv").open("a") as file:
        file.write("99,0,1,4\n99,1,1,4\n1,0,1,4.5\n0,0,2,7\n0,0,3,1\n")
    report = check(study)
    assert not report.ok
    found = {p.line: p.message for p in report.problems if p.file.name == "ratings.csv"}
    assert len(found) == len(report.problems) and list(found) == [3, 4, 5, 26, 28, 29]
    assert "pic1.jpg: no such file" in found[3]
    assert "pic2.jpg: the file is empty" in found[4]
    assert "pic3.jpg: " in found[5]
    assert found[26] == "rater '99' is not in raters.csv (and 1 more row)"
    assert "not '4.5'" in found[28]
    assert found[29] == "0 rated pic0.jpg in line 2 already, 1 there and 7 here"
    assert [(w.line, w.message) for w in report.warnings] == [(30, "0 rated pic0.jpg in line 2 already")]
    assert f"Mend this first: {study / 'ratings.csv'}, line 3" in report.text()
    assert [path.name for path, _, _ in report.examples] == ["pic0.jpg"]


def test_warnings(study):
    text = (study / "raters.csv").read_text().splitlines()
    (study / "raters.csv").write_text("\n".join([text[0], *(row.rsplit(",", 1)[0] + "," for row in text[1:])]) + "\n")
    with (study / "images.csv").open("a") as file:
        file.write("9,pic9.jpg,Pic 9,Object,A thing.,4,1,0\n")
    picture(study / "images" / "pic9.jpg")
    with (study / "raters.csv").open("a") as file:
        file.write("50,30,1,4,50,4,\n")
    with (study / "ratings.csv").open("a") as file:
        file.write("50,0,1,2\n50,1,1,2\n50,9,1,2\n")
    report = check(study)
    assert report.ok
    found = {(w.file.name, w.line): w.message for w in report.warnings}
    assert found == {
        ("raters.csv", 1): "teps_consummatory is blank for 7 of 7 people",
        ("ratings.csv", 26): "50 gave all 3 pictures the score 2: no taste to learn from",
        ("ratings.csv", None): "1 of 5 pictures have fewer than 5 ratings: their means say little",
    }
    assert report.text(most=1).count("... and 2 more") == 1


def test_a_table_that_cannot_be_read_is_a_problem(study):
    (study / "ratings.csv").write_bytes(b"rater,item,score\n1,1,\xff\n")
    (problem,) = check(study).problems
    assert (problem.file.name, problem.line) == ("ratings.csv", 2)
    (study / "raters.csv").unlink()
    report = check(study)
    assert [(p.file.name, p.line) for p in report.problems] == [("raters.csv", None)] and report.text()
    with pytest.raises(ValueError, match="no picture that is rated"):
        report.sheet()


def test_an_album(tmp_path):
    for k in range(3):
        picture(tmp_path / f"{k}.png", 60 * k)
    report = check(tmp_path)
    assert report.layout == "an album of your own" and report.ok and report.counts["ratings"] == 0
    (tmp_path / "ratings.csv").write_text("file,score\n2.png,1\n0.png,5\n")
    report = check(tmp_path)
    assert report.ok and report.warnings == () and "Ready to use." in report.text()
    assert [path.name for path, _, _ in report.examples] == ["2.png", "0.png"]
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "profile.json").write_text('{"hat": 3}')
    (tmp_path / "ratings.csv").write_text("file,score\n2.png,3\n9.jpg,5\n0.png,3\n2.png,3\n")
    report = check(tmp_path)
    found = {(p.file.name, p.line): p.message for p in report.problems}
    assert set(found) == {("1.png", None), ("profile.json", None), ("ratings.csv", 3)}
    assert "no field 'hat'" in found["profile.json", None]
    assert [w.line for w in report.warnings] == [2, 5]
    assert "you gave all 2 pictures the score 3" in report.warnings[0].message


def test_para_and_flickr_aes_are_recognised(tmp_path):
    root = tmp_path / "around" / "PARA"
    (root / "annotation").mkdir(parents=True)
    report = check(tmp_path / "around")
    assert report.layout == "PARA" and report.problems[0].file == root / "annotation" / "PARA-UserInfo.csv"
    table = tmp_path / "flickr" / flickr_aes.TABLE
    picture(tmp_path / "flickr" / "40K" / "a.jpg")
    table.write_text("worker, imagePair, score\n" + "".join(f"w{i}, a.jpg, {1 + i % 5}\n" for i in range(5)))
    report = check(table.parent)
    assert report.layout == "FLICKR-AES" and report.ok and report.warnings == (), report.text()
    assert report.counts["people"] == 5


def test_an_unknown_layout_says_what_was_looked_for(tmp_path):
    (tmp_path / "stuff").mkdir()
    with pytest.raises(ValueError, match="known") as caught:
        check(tmp_path)
    for sign in ("PARA-Images.csv", "40K/", "raters.csv", "file,score"):
        assert sign in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        check(tmp_path / "nothing")
    (tmp_path / "file.csv").write_text("x")
    with pytest.raises(ValueError, match="give the folder"):
        check(tmp_path / "file.csv")


def test_the_real_oasis(shared_data):
    report = check(shared_data / "oasis")
    assert report.ok and report.counts["ratings"] == 77_236, report.text()
    assert [(w.line, w.message[:11]) for w in report.warnings] == [(17837, "171 gave al"), (19436, "185 gave al")]
