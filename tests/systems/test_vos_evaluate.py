"""The evaluation of object following: stand-ins that know or do not know, folders of results, the checks of data."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from percepta import shell
from percepta.datasets.videos import Video, write_mask
from percepta.errors import InputError
from percepta.systems.vos import PRESETS, Config, commands, evaluate, sequences, world
from percepta.systems.vos.check import check
from percepta.systems.vos.data import data, videos
from percepta.systems.vos.evaluate import KEPT, collect, score_results, summary, write_results
from percepta.systems.vos.model import build

SIZE = (36, 64)


def truth(video: int, frame: int) -> np.ndarray:
    """A disc that moves to the right and down, 255 and 0."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.where((x - 14 - 2 * frame - video) ** 2 + (y - 15 - 0.3 * frame) ** 2 < 50, 255, 0).astype(np.uint8)


def davis(root: Path, count: int = 4, frames: int = 14) -> Path:
    """Videos of one object in the layout of DAVIS-2016."""
    rng = np.random.default_rng(0)
    for video in range(count):
        pictures, masks = (root / kind / "480p" / f"v{video}" for kind in ("JPEGImages", "Annotations"))
        pictures.mkdir(parents=True), masks.mkdir(parents=True)
        ground = rng.integers(0, 120, (*SIZE, 3)).astype(np.uint8)
        for frame in range(frames):
            mask = truth(video, frame)
            picture = np.where(mask[..., None] > 0, np.uint8(200), ground)
            Image.fromarray(picture).save(pictures / f"{frame:05d}.png")
            Image.fromarray(mask).save(masks / f"{frame:05d}.png")
    return root


class Answer:
    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels


class Keeps:
    """Says that everything stays where it was given."""

    def __init__(self) -> None:
        self.labels: np.ndarray | None = None

    def step(self, picture: Any, masks: Any = None) -> Answer:
        for number, mask in (masks or {}).items():
            self.labels = np.zeros(mask.shape, np.uint8) if self.labels is None else self.labels
            self.labels[mask] = number
        assert self.labels is not None
        return Answer(self.labels)


class Knows:
    """Says what is true, of one video."""

    def __init__(self, video: sequences.Sequence) -> None:
        self.video, self.frame = video, min(video.first.values()) - 1

    def step(self, picture: Any, masks: Any = None) -> Answer:
        self.frame += 1
        labels = self.video.frame(self.frame)[1]
        return Answer(np.zeros(SIZE, np.uint8) if labels is None else labels)  # frames that do not count have none


def test_who_knows_everything_gets_1_and_who_keeps_the_mask_what_is_printed_beside(tmp_path: Path) -> None:
    dataset = data(Config(), "all", davis(tmp_path))
    assert isinstance(dataset[(0, 0)], sequences.Sequence)
    found = [dataset[(0, i)] for i in range(len(dataset))]
    assert [s.kind for s in found].count("videos") == 4 and {s.kind for s in found} == {
        "videos", "several objects", "lost and found",
    }  # fmt: skip
    rows: list[evaluate.Row] = []
    for sequence in found:
        rows += collect(lambda sequence=sequence: Knows(sequence), [dataset.collate([sequence])])[0]
    best = summary(rows)
    for name, metric in best.items():
        assert metric.value == pytest.approx(0 if "decay" in name else 1), name
    kept = summary(collect(Keeps, [dataset.collate(found)])[0])
    assert set(kept) == set(best) and {"J&F several objects", "J&F lost and found", "hidden, said so"} <= set(best)
    for name, metric in kept.items():
        assert metric.value == pytest.approx(metric.baselines[KEPT], abs=1e-12)
        assert metric.baselines == pytest.approx(best[name].baselines)
    assert kept["J"].value < 0.6 and kept["hidden, said so"].value == 0
    assert kept["J&F"].value == pytest.approx((kept["J"].value + kept["F"].value) / 2)
    assert best["J"].n == 4 and best["J&F several objects"].n == 12


def test_a_network_is_evaluated_and_a_set_without_truth_is_refused() -> None:
    config = PRESETS["tiny"]
    model, dataset = build(config).eval(), data(config, "val")
    with torch.no_grad():
        found = evaluate.evaluate(model, [dataset.collate([dataset[(0, 0)]])], examples=1)  # type: ignore[arg-type]
    assert 0 <= found.metrics["J&F world"].value <= 1 and found.metrics["hidden, said so"].n == 3 and found.blocks
    assert found.metrics["J&F world, found again"].n == 1
    nothing = replace(dataset[(0, 0)], compared={1: ()})
    with pytest.raises(ValueError, match="--write OUT"), torch.no_grad():
        evaluate.evaluate(model, [dataset.collate([nothing])])  # type: ignore[arg-type]


def test_a_page_shows_some_videos(tmp_path: Path) -> None:
    dataset = data(Config(), "all", davis(tmp_path, 2))
    rows, shown = collect(Keeps, [dataset.collate([dataset[(0, 0)]]), dataset.collate([dataset[(0, 1)]])], 1)
    assert len(shown) == 1 and "J&F" in shown[0][1]
    assert min(shown[0][0].draw().size) > 50
    assert "".join(block.html() for block in evaluate.blocks(rows, shown)).count("<img") == 1


def test_pasted_objects_cover_what_is_below_and_keep_their_ids(tmp_path: Path) -> None:
    found = videos(davis(tmp_path), "all")
    several = sequences.Several(found[0], (found[1], found[2]))
    seen = set()
    for frame in range(len(several)):
        pixels, labels = several.frame(frame)
        own = truth(0, frame) > 0
        assert ((labels == 1) <= own).all() and ((labels == 0) <= ~own).all()
        changed = (pixels != np.asarray(Image.open(found[0].frames[frame]))).any(-1)
        assert ((labels > 1) <= changed | own).all()  # a disc on a disc changes nothing
        seen |= set(np.unique(labels).tolist())
        again, same = several.frame(frame)
        assert (again == pixels).all() and (same == labels).all()
    assert seen == {0, 1, 2, 3}


def test_the_board_hides_all_of_the_object_and_only_for_a_while(tmp_path: Path) -> None:
    found = videos(davis(tmp_path), "all")
    hidden = sequences.Hidden.of(found[0], found[1])
    assert hidden is not None
    for frame in range(len(hidden)):
        pixels, labels = hidden.frame(frame)
        if frame in hidden.hidden:
            assert not labels.any()
        plain = np.asarray(Image.open(found[0].frames[frame]))
        assert ((pixels != plain).any(-1) <= (labels == 0)).all()
        if frame in hidden.compared[1] or frame < hidden.hidden[0] - sequences.SLIDE:
            assert (pixels == plain).all() and ((labels > 0) == (truth(0, frame) > 0)).all()
    assert min(hidden.compared[1]) > max(hidden.hidden) and len(hidden.compared[1]) > 1
    short = Video("s", found[0].frames[:5], found[0].masks[:5], "davis", binary=True)
    assert sequences.Hidden.of(short, found[1]) is None


def test_seen_and_unseen_categories_give_the_score_of_youtube_vos() -> None:
    def row(value: float, seen: bool) -> evaluate.Row:
        both = np.array([[value, value / 2]] * 3)
        return evaluate.Row("videos", "v", str(value), 1, both, 0 * both, seen=seen)

    found = summary([row(0.8, True), row(0.4, True), row(0.2, False)])
    expected = {"J seen": 0.6, "F seen": 0.3, "J unseen": 0.2, "F unseen": 0.1, "G": 0.3}
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    assert "G" not in summary([row(0.8, True)])


def test_a_folder_of_results_is_scored_and_what_it_lacks_is_named(tmp_path: Path) -> None:
    root, out = davis(tmp_path / "data"), tmp_path / "out"
    files = write_results(Keeps, root, "all", out)
    assert len(files) == 4 * 14 and files[0] == out / "v0" / "00000.png"
    assert set(np.unique(np.asarray(Image.open(files[3]))).tolist()) == {0, 255}
    found, missing = score_results(root, out, "all", examples=1)
    direct = summary(collect(Keeps, [{"videos": [sequences.Filmed.of(v) for v in videos(root, "all")]}])[0])
    assert missing.text == "" and found.metrics == direct and len(found.blocks) > 1
    files[5].unlink()
    files[6].write_bytes(b"broken")
    for path in (out / "v3").iterdir():
        path.unlink()
    (out / "v3").rmdir()
    worse, missing = score_results(root, out, "all")
    assert missing.videos == ("v3",) and len(missing.files) == 2 and "00005.png: not there" in missing.text
    assert worse.metrics["J"].n == 3 and worse.metrics["J&F v0"].value < direct["J&F v0"].value
    assert write_results(Keeps, root, "all", out)[5].is_file()
    Image.new("L", (10, 10)).save(out / "v0" / "00005.png")
    with pytest.raises(ValueError, match=r"00005.png: the mask has 10×10 pixels, its frame 64×36"):
        score_results(root, out, "all")
    with pytest.raises(FileNotFoundError, match="no folder of a video"):
        score_results(root, tmp_path, "all")


def test_results_that_stopped_go_on(tmp_path: Path) -> None:
    root, out = davis(tmp_path / "data", 3), tmp_path / "out"
    files = write_results(Keeps, root, "all", out)
    stamp = files[0].stat().st_mtime_ns
    for path in files[-3:]:
        path.unlink()
    opened = []
    write_results(lambda: opened.append(1) or Keeps(), root, "all", out)
    assert len(opened) == 1 and files[0].stat().st_mtime_ns == stamp and all(path.is_file() for path in files)


def test_objects_that_appear_later_are_given_then_and_count_from_there(tmp_path: Path) -> None:
    folder = tmp_path / "valid"
    for name, shape in (("JPEGImages", (*SIZE, 3)), ("Annotations", SIZE)):
        (folder / name / "v").mkdir(parents=True)
        for frame in range(6):
            pixels = np.zeros(shape, np.uint8)
            if name == "Annotations":
                pixels[4:9, 4 + frame : 9 + frame] = 2
                if frame >= 3:
                    pixels[20:29, 30:40] = 7
                write_mask(folder / name / "v" / f"{5 * frame:05d}.png", pixels)
            else:
                Image.fromarray(pixels).save(folder / name / "v" / f"{5 * frame:05d}.jpg")
    stems = [f"{5 * i:05d}" for i in range(6)]
    objects = {"2": {"category": "cat", "frames": stems}, "7": {"category": "yak", "frames": stems[3:]}}
    (folder / "meta.json").write_text(json.dumps({"videos": {"v": {"objects": objects}}}))
    (video,) = videos(tmp_path, "val")
    rows, _ = collect(Keeps, [{"videos": [sequences.Filmed.of(video)]}])
    assert [(row.number, len(row.values)) for row in rows] == [(2, 5), (7, 2)]
    assert rows[1].values.tolist() == [[1, 1], [1, 1]] and rows[0].values[-1, 0] == 0
    files = write_results(Keeps, tmp_path, "val", tmp_path / "out")
    assert files[0] == tmp_path / "out" / "Annotations" / "v" / "00000.png"
    scored, missing = score_results(tmp_path, tmp_path / "out", "val")
    assert not missing.text and scored.metrics == summary(rows)


def test_a_split_without_videos_is_an_error_and_the_check_says_it_first(tmp_path: Path) -> None:
    root = davis(tmp_path / "data", 2, 3)  # neither of the two names is one of those that are kept back
    assert not videos(root, "val")
    for call in (
        lambda: data(Config(), "val", root),
        lambda: write_results(Keeps, root, "val", tmp_path / "out"),
        lambda: score_results(root, tmp_path, "val"),
    ):
        with pytest.raises(InputError, match=r"no video with masks in the split 'val'; it holds 2 in all.*'all'"):
            call()
    report = check(root)
    assert report.ok and "no video of the split 'val': a training is not evaluated" in report.text()
    some = davis(tmp_path / "more", 12, 2)
    assert videos(some, "val") and "not evaluated" not in check(some).text()


@pytest.mark.parametrize("seed", range(6))
def test_the_world_hides_what_it_says(seed: int) -> None:
    pixels, labels, hidden = world.clip(seed, 64, 96, 12, 2)
    assert pixels.shape == (12, 64, 96, 3) and set(np.unique(labels).tolist()) <= {0, 1, 2}
    assert all(
        (labels[frame] == 1).any() == (frame not in hidden) for frame in range(12) if not _covered(labels, frame)
    )
    assert hidden and hidden[-1] < 11 and (labels[0] == 1).any()
    again = world.clip(seed, 64, 96, 12, 2)
    assert (again[0] == pixels).all() and (again[1] == labels).all()
    assert (world.clip(seed + 100, 64, 96, 12, 2)[0] != pixels).any()


def _covered(labels: np.ndarray, frame: int) -> bool:
    """Whether another shape may hide the first one, which is then not the wall's doing."""
    return not (labels[frame] == 1).any() and (labels[frame] == 2).any() and frame > 0


def test_splits_of_the_world_are_apart_and_follow_from_their_keys() -> None:
    config = PRESETS["tiny"]
    train = data(config, "train")
    a, b = train[(0, 3)], train[(0, 3)]
    assert all(torch.equal(a[name], b[name]) for name in a) and a["known"].any()
    assert not torch.equal(a["pictures"], train[(1, 3)]["pictures"])
    assert a["pictures"].shape == (config.clip_frames, 3, config.height, config.width)
    assert set(a["labels"].unique().tolist()) <= {0} | {i + 1 for i, known in enumerate(a["known"]) if known}
    val, test = data(config, "val")[(0, 0)], data(config, "test")[(0, 0)]
    assert isinstance(val, sequences.Sequence) and val.name != test.name
    with pytest.raises(ValueError, match="not 'dev'"):
        data(config, "dev")


def test_a_check_counts_and_names_what_is_wrong(tmp_path: Path) -> None:
    root = davis(tmp_path / "davis", 2, 3)
    report = check(root)
    assert report.ok and report.counts == {"videos": 2, "frames": 6, "masks": 6, "objects in videos": 2}
    assert min(report.sheet().size) > 50
    masks = root / "Annotations" / "480p"
    Image.fromarray(truth(0, 1)[:20]).save(masks / "v0" / "00001.png")
    Image.fromarray(truth(0, 2)[:, :-1]).save(masks / "v0" / "00002.png")
    Image.new("RGB", (30, 20)).save(root / "JPEGImages" / "480p" / "v1" / "00001.png")
    Image.fromarray(0 * truth(0, 0)).save(masks / "v1" / "00000.png")
    write_mask(masks / "v1" / "00077.png", truth(0, 0))
    text = check(root).text(20)
    assert "00001.png: the mask has 64×20 pixels, its frame 64×36" in text
    assert "00002.png: the mask has 63×36 pixels, its frame 64×36: it is resized" in text
    assert "00001.png: 30×20 pixels, but the first frame has 64×36" in text
    assert "00000.png: the first mask is empty" in text
    assert "00077.png: a mask for a frame that is not there" in text


def test_more_than_fifty_objects_and_a_video_with_one_frame_are_named(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name / "v").mkdir(parents=True)
    Image.new("RGB", (64, 36)).save(tmp_path / "images" / "v" / "0.png")
    write_mask(tmp_path / "masks" / "v" / "0.png", np.arange(36 * 64).reshape(36, 64).astype(np.uint8) // 2 % 60)
    text = check(tmp_path).text()
    assert "59 objects; at most 50 are followed at once" in text and "a video with one frame" in text


def test_the_shared_fixture_of_several_objects(shared_data: Path) -> None:
    report = check(shared_data / "vos-multi")
    assert report.ok and "judo/00005.png: the mask has 853×480 pixels, its frame 854×480" in report.text()
    assert report.counts["objects in videos"] == 6


def test_published_results_get_the_official_numbers(shared_data: Path, golden: Path) -> None:
    """J .778 and F .788 of OSVOS on the nine videos; here on the two shortest."""
    official = json.loads((golden / "vos" / "official-J-F.json").read_text())
    names = sorted(official, key=lambda name: len(official[name]["J"]))[:2]
    found = [video for video in videos(shared_data / "davis16", "test") if video.name in names]
    rows: list[evaluate.Row] = []
    for video in found:
        sequence = sequences.Filmed.of(video)
        saved = evaluate._saved(sequence, golden / "vos" / "osvos" / video.name, [])
        rows += evaluate.compare(sequence, saved)[0]
    for row in rows:
        np.testing.assert_allclose(row.values[:, 0], official[row.video]["J"], atol=1e-6)
        np.testing.assert_allclose(row.values[:, 1], official[row.video]["F"], atol=1e-6)


def test_the_command_scores_a_folder_and_says_what_it_lacks(tmp_path: Path) -> None:
    root, out = davis(tmp_path / "data", 3), tmp_path / "out"
    files = write_results(Keeps, root, "all", out)
    files[7].unlink()
    kind, run = commands.COMMANDS["evaluate"]
    words = ["--data", str(root), "--split", "all", "--results", str(out), "--out", str(tmp_path / "page")]
    options = shell.parse(kind, words, "percepta evaluate vos")
    screen = Console(width=200, record=True, file=io.StringIO())
    assert run(options, screen) == 1
    text = screen.export_text()
    assert "J&F" in text and "1 masks are missing" in text and files[7].name in text
    saved = json.loads((tmp_path / "page" / "metrics.json").read_text())
    assert saved["metrics"]["J"]["n"] == 3 and len(saved["missing"]["files"]) == 1
    again = shell.parse(kind, shell.words_of(options), "percepta evaluate vos")
    assert again == options
    with pytest.raises(ValueError, match="need --data"):
        run(shell.parse(kind, ["--results", str(out)], "percepta evaluate vos"), screen)
