"""The index of `hashing`: nearest codes, what is on disk, killed writers, folders with broken files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from percepta.media import video
from percepta.systems.hashing import codes as searching
from percepta.systems.hashing import moments
from percepta.systems.hashing.codes import Exact, Lists, Shards
from percepta.systems.hashing.index import CorruptIndexError, Entry, Index, IndexFormatError, Writer
from percepta.systems.hashing.moments import Settings

needs_faiss = pytest.mark.skipif(not searching.has_faiss(), reason="faiss is missing: pip install 'percepta[search]'")
ENGINES = ["numpy", pytest.param("faiss", marks=needs_faiss)]


class Colours:
    """An encoder for tests: the mean colours of 4 × 4 tiles; their signs on fixed random directions."""

    side, bits = 32, 64

    def __init__(self) -> None:
        self.encoded = 0
        self._to_bits = np.random.default_rng(5).standard_normal((48, self.bits)).astype(np.float32)

    def fingerprint(self) -> str:
        return "colours-1"

    def pictures(self, pixels: np.ndarray) -> np.ndarray:
        self.encoded += len(pixels)
        tiles = pixels.reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)).reshape(len(pixels), -1) / 255 - 0.5
        return tiles.astype(np.float32)

    def codes(self, vectors: np.ndarray) -> np.ndarray:
        return np.packbits(vectors @ self._to_bits > 0, axis=1)

    def sentences(self, words: Sequence[str]) -> np.ndarray:
        return self.codes(np.stack([np.tile(np.array(COLOURS[w], np.float32) / 255 - 0.5, 16) for w in words]))


COLOURS = {"red": (230, 20, 20), "green": (20, 220, 30), "blue": (25, 30, 240), "white": (250, 250, 250)}


def add(index: Path, *roots: Path, drop: bool = False, setup: Settings = Settings()) -> tuple[moments.Additions, int]:  # noqa: B008
    encoder = Colours()
    with Writer(index, encoder.fingerprint(), encoder.bits) as writer:
        encode = partial(moments.encode_files, encoder=encoder, settings=setup, threads=2)
        report = moments.add(writer, roots, encode, setup, drop_missing=drop)
    return report, encoder.encoded


def contents(index: Path) -> list[tuple]:
    """All that an index says of its files but when they were written."""
    rows = Index.open(index).entries()
    return [(e.path, e.kind, e.size, e.hash, e.times.tolist(), e.codes.tolist()) for e in rows]


def colour(path: Path, name: str, noise: int = 0) -> Path:
    picture = np.full((48, 64, 3), COLOURS[name], np.uint8)
    picture[0, 0] = noise  # another content, the same look
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def clip(path: Path, names: Sequence[str], seconds: float = 1.0, fps: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shots = [np.full((48, 64, 3), COLOURS[name], np.uint8) for name in names]
    return video.write(path, [shot for shot in shots for _ in range(round(fps * seconds))], fps)


# ----------------------------------------------------------------------------------------- nearest codes


def brute(codes: np.ndarray, query: np.ndarray, k: int) -> list[tuple[int, int]]:
    apart = [(int(np.unpackbits(row ^ query).sum()), place) for place, row in enumerate(codes)]
    return sorted(apart)[:k]


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    width = draw(st.sampled_from([1, 2, 3, 8, 9, 64, 72]))
    count = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    few = rng.integers(0, 256, (draw(st.integers(1, 5)), width), np.uint8)  # few different codes: many ties
    codes = few[rng.integers(0, len(few), count)]
    codes[:, 0] ^= rng.integers(0, 2, count).astype(np.uint8)
    return codes, few[rng.integers(0, len(few), 3)], draw(st.integers(1, 70))


@pytest.mark.parametrize("engine", ENGINES)
@given(table=tables())
@settings(max_examples=60, deadline=None)
def test_the_nearest_by_distance_then_row(engine: searching.Engine, table: tuple[np.ndarray, np.ndarray, int]) -> None:
    codes, queries, k = table
    hits = Exact(codes, engine).search(queries, k)
    for index, query in enumerate(queries):
        expected = brute(codes, query, k)
        found = list(zip(hits.distances[index].tolist(), hits.rows[index].tolist(), strict=True))
        assert found == expected


@given(table=tables(), cuts=st.lists(st.integers(0, 60), max_size=4))
@settings(max_examples=60, deadline=None)
def test_shards_answer_like_one(table: tuple[np.ndarray, np.ndarray, int], cuts: list[int]) -> None:
    codes, queries, k = table
    parts = np.split(codes, sorted(min(cut, len(codes)) for cut in cuts))
    with Shards([partial(np.asarray, part) for part in parts], engine="numpy") as shards:
        assert len(shards) == len(codes)
        for ours, one in zip(shards.search(queries, k), Exact(codes, "numpy").search(queries, k), strict=True):
            np.testing.assert_array_equal(ours, one)


def test_three_ray_actors_answer_like_one_index(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'percepta[scale]'")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (999, 16), np.uint8)
    sources = []
    for number, part in enumerate(np.split(codes, [300, 301])):
        np.save(tmp_path / f"{number}.npy", part)
        sources.append(partial(np.load, tmp_path / f"{number}.npy"))
    with Shards(sources, actors=True, engine="numpy") as shards:
        for k in (1, 10, 999):
            for ours, one in zip(shards.search(codes[:5], k), Exact(codes, "numpy").search(codes[:5], k), strict=True):
                np.testing.assert_array_equal(ours, one)


@needs_faiss
def test_lists_find_what_lies_in_clusters(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (20, 32), np.uint8)
    flips = np.packbits(rng.random((4000, 256)) < 0.05, axis=1)
    codes = centres[rng.integers(0, 20, 4000)] ^ flips
    lists = Lists(codes, 20, probes=4)
    exact, found = Exact(codes).search(codes[:50], 10), lists.search(codes[:50], 10)
    # By distance: another code at the distance of the tenth counts as well as the tenth.
    assert (found.distances <= exact.distances[:, -1:]).mean() > 0.95
    whole = Lists(codes, 20, probes=20).search(codes[:50], 10)
    np.testing.assert_array_equal(whole.rows, exact.rows)
    lists.write(tmp_path / "lists")
    np.testing.assert_array_equal(Lists.read(tmp_path / "lists", 4).search(codes[:50], 10).rows, found.rows)


def test_wrong_queries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Exact(np.zeros((3, 8), np.uint8), "numpy")
    with pytest.raises(ValueError, match="codes here have 64 bits"):
        exact.search(np.zeros((1, 4), np.uint8), 1)
    with pytest.raises(ValueError, match="at least 1"):
        exact.search(np.zeros((1, 8), np.uint8), 0)
    assert Exact(np.zeros((0, 8), np.uint8)).search(np.zeros((2, 8), np.uint8), 5).rows.shape == (2, 0)
    monkeypatch.setattr(searching, "has_faiss", lambda: False)
    with pytest.raises(ModuleNotFoundError, match=r"percepta\[search\]"):
        Lists(np.zeros((3, 8), np.uint8), 1)


# --------------------------------------------------------------------------------------------- the index


def entry(name: int, seed: int, count: int = 3) -> Entry:
    rng = np.random.default_rng(seed)
    times = np.stack((np.arange(count) / 2, np.arange(1, count + 1) / 2), 1).astype(np.float32)
    content = f"{seed:064x}"
    return Entry(f"/films/{name}.mp4", "video", 10 + seed, seed, content, float(seed), times,
                 rng.integers(0, 256, (count, 8), np.uint8))  # fmt: skip


def one_record() -> bytes:
    """What a log holds for one file."""
    with TemporaryDirectory() as folder:
        writer = Writer(folder, "m", 64)
        writer.put(entry(9, 9))
        writer.close(compact=False)
        return (Path(folder) / writer.header.generation / "log.bin").read_bytes()


RECORD = one_record()
steps = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 6), st.integers(0, 9)),
    st.tuples(st.just("drop"), st.integers(0, 6), st.just(0)),
    st.tuples(st.just("compact"), st.just(0), st.just(0)),
    st.tuples(st.just("kill"), st.integers(0, 60), st.just(0)),
    st.tuples(st.just("reopen"), st.just(0), st.just(0)),
)


@given(sequence=st.lists(steps, max_size=14))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_changes_is_the_index_built_fresh(tmp_path: Path, sequence: list[tuple[str, int, int]]) -> None:
    folder = tmp_path / "index"
    shutil.rmtree(folder, ignore_errors=True)
    writer = Writer(folder, "m", 64)
    wanted: dict[str, Entry] = {}
    for kind, name, seed in sequence:
        if kind == "put":
            wanted[entry(name, seed).path] = entry(name, seed, 1 + seed % 4)
            writer.put(entry(name, seed, 1 + seed % 4))
        elif kind == "drop":
            assert writer.drop(f"/films/{name}.mp4") == (wanted.pop(f"/films/{name}.mp4", None) is not None)
        elif kind == "compact":
            writer.compact()
        else:
            writer.close(compact=kind == "reopen")
            if kind == "kill":  # in the middle of the next record
                with (folder / writer.header.generation / "log.bin").open("ab") as file:
                    file.write(RECORD[: min(name, len(RECORD) - 1)])
            writer = Writer(folder)
        assert writer.paths == sorted(wanted)
    opened = Index.open(folder)  # while it is being written
    writer.close()
    fresh_folder = tmp_path / "fresh"
    shutil.rmtree(fresh_folder, ignore_errors=True)
    with Writer(fresh_folder, "m", 64) as fresh:
        for path in sorted(wanted):
            fresh.put(wanted[path])
    for index in (opened, Index.open(folder)):
        expected = Index.open(fresh_folder)
        assert contents_of(index) == contents_of(expected)
        query = np.arange(8, dtype=np.uint8)[None]
        for ours, theirs in zip(index.search(query, 50), expected.search(query, 50), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    shutil.rmtree(folder)


def contents_of(index: Index) -> list[tuple]:
    return [(e.path, e.size, e.mtime_ns, e.hash, e.taken, e.times.tolist(), e.codes.tolist()) for e in index.entries()]


KILLED = """
import numpy as np
from percepta.systems.hashing.index import Entry, Writer
writer = Writer({folder!r}, "m", 64)
print("ready", flush=True)
for number in range(len(writer.paths), 100000):
    codes = np.full((20, 8), number % 256, np.uint8)
    path, content = f"/films/{{number:06d}}.mp4", f"{{number:064x}}"
    writer.put(Entry(path, "video", number, number, content, 0.0, np.zeros((20, 2), np.float32), codes))
    print(number, flush=True)
    if number % 50 == 49:
        writer.compact()
"""


def test_a_killed_writer_leaves_a_valid_index_that_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    rng = random.Random(0)
    said = -1
    for _ in range(4):
        command = [sys.executable, "-c", KILLED.format(folder=str(folder))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.005, 0.15))
            child.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in child.stdout.read().split("\n")[:-1] if line)])
        rows = list(Index.open(folder, verify=True).entries())
        assert [row.size for row in rows] == list(range(len(rows)))  # nothing is missing in between
        assert len(rows) - 1 in (said, said + 1)  # what it said it had is there, and at most one more
        assert all((row.codes == row.size % 256).all() and len(row.codes) == 20 for row in rows)
        said = len(rows) - 1
    assert said > 10


def test_one_writer_at_a_time_and_readers_are_not_disturbed(tmp_path: Path) -> None:
    with Writer(tmp_path, "m", 64) as writer:
        writer.put(entry(1, 1))
        writer.compact()
        reader = Index.open(tmp_path)
        with pytest.raises(BlockingIOError, match=rf"another percepta \(process {os.getpid()} .*writes to it"):
            Writer(tmp_path)
        writer.put(entry(2, 2))
        writer.compact()
        assert len(reader) == 3 and reader.search(entry(1, 1).codes[:1], 1).distances[0, 0] == 0
    assert len(Index.open(tmp_path)) == 6
    assert len(list(tmp_path.glob("0*"))) == 1  # old generations are gone


def test_damage_is_found_and_told(tmp_path: Path) -> None:
    def made() -> Path:
        shutil.rmtree(tmp_path / "index", ignore_errors=True)
        writer = Writer(tmp_path / "index", "m", 64)
        writer.put(entry(1, 1))
        writer.compact()
        writer.put(entry(2, 2))
        writer.put(entry(3, 3))
        writer.close(compact=False)
        return tmp_path / "index"

    def flip(path: Path, at: int) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    names = ["codes.npy", "times.npy", "files.npz"]
    for name in names:
        folder = made()
        flip(folder / Index.open(folder).header.generation / name, -1)
        with pytest.raises(CorruptIndexError, match=rf"{name} is damaged.*percepta index rebuild"):
            Index.open(folder)
    for name in names:
        folder = made()
        path = folder / Index.open(folder).header.generation / name
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(CorruptIndexError, match="bytes instead of"):
            Index.open(folder, verify=False)
        path.unlink()
        with pytest.raises(CorruptIndexError, match="is missing"):
            Index.open(folder)
    for at in (0, 5, 10, 14, 30, -5):
        folder = made()
        flip(folder / Index.open(folder).header.generation / "log.bin", at)
        with pytest.raises(CorruptIndexError, match=r"log\.bin is damaged"):
            Index.open(folder)
    folder = made()
    header = json.loads((folder / "header.json").read_text())
    (folder / "header.json").write_text(json.dumps({**header, "bits": 128}))
    with pytest.raises(CorruptIndexError, match="the header is damaged"):
        Index.open(folder)
    (folder / "header.json").write_text("{")
    with pytest.raises(CorruptIndexError, match="the header is damaged"):
        Index.open(folder)


def test_another_version_or_model_is_refused(tmp_path: Path) -> None:
    Writer(tmp_path, "model-a", 64).close()
    with pytest.raises(IndexFormatError, match=r"come from the model model-a.*percepta index rebuild"):
        Index.open(tmp_path, model="model-b")
    with pytest.raises(IndexFormatError, match="come from the model"):
        Writer(tmp_path, "model-b", 64)
    with pytest.raises(IndexFormatError, match="codes of 64 bits, not 128"):
        Writer(tmp_path, "model-a", 128)
    header = json.loads((tmp_path / "header.json").read_text())
    (tmp_path / "header.json").write_text(json.dumps({**header, "format": 2, "percepta": "9.0"}))
    with pytest.raises(IndexFormatError, match=r"format 2 by percepta 9\.0"):
        Index.open(tmp_path)
    with pytest.raises(FileNotFoundError, match="no index here"):
        Index.open(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no index here"):
        Writer(tmp_path / "none")
    Writer(tmp_path / "again", "m", 64).close()  # a lock that was not given back would be seen here
    Writer(tmp_path / "again", "m", 64).close()


def test_an_index_says_which_weights_made_it_and_older_ones_can_be_read(tmp_path: Path) -> None:
    with Writer(tmp_path / "new", "m", 64, weights="abc") as writer:
        writer.put(entry(1, 1))
    assert Index.open(tmp_path / "new").header.weights == "abc"
    with Writer(tmp_path / "new") as writer:
        writer.put(entry(2, 2))
    assert Index.open(tmp_path / "new").header.weights == "abc"
    with Writer(tmp_path / "old", "m", 64) as writer:
        writer.put(entry(1, 1))
    path = tmp_path / "old" / "header.json"
    fields = json.loads(path.read_text())
    del fields["weights"], fields["seal"]  # as indexes were written before
    seal = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**fields, "seal": seal}))
    assert Index.open(tmp_path / "old", verify=True).header.weights == ""
    with Writer(tmp_path / "old", "m", 64, weights="abc") as writer:
        writer.put(entry(2, 2))
    opened = Index.open(tmp_path / "old", verify=True)
    assert opened.header.weights == "abc" and len(opened.files) == 2


def test_spans_join_neighbours_and_copies(tmp_path: Path) -> None:
    near, far = np.zeros(8, np.uint8), np.full(8, 255, np.uint8)
    one = near.copy()
    one[0] = 1
    times = np.array([[0, 0.5], [0.5, 1], [1, 1.5], [1.5, 2], [5, 5.5], [9, 9.5]], np.float32)
    codes = np.stack([one, near, far, one, far, one])
    with Writer(tmp_path, "m", 64) as writer:
        writer.put(Entry("/a.mp4", "video", 1, 1, "0" * 64, 5.0, times, codes))
        writer.put(Entry("/b.mp4", "video", 1, 1, "0" * 64, 6.0, times, codes))
        zero = np.zeros((1, 2), np.float32)
        writer.put(Entry("/z/c.jpg", "photo", 1, 1, "1" * 64, 7.0, zero, one[None]))
    index = Index.open(tmp_path)
    spans = index.find(near, 3)
    assert [(s.path, s.start_s, s.end_s, s.distance, s.best_s, s.copies) for s in spans] == [
        ("/a.mp4", 0.0, 1.0, 0, 0.75, ("/b.mp4",)),
        ("/a.mp4", 1.5, 2.0, 1, 1.75, ("/b.mp4",)),
        ("/a.mp4", 9.0, 9.5, 1, 9.25, ("/b.mp4",)),
    ]
    assert index.find(near, 1) == spans[:1] and index.find(near, 2) == spans[:2]
    everything = index.find(near, 99)
    assert [s.distance for s in everything] == [0, 1, 1, 1, 64, 64] and everything[:3] == spans
    assert spans[1].score == 1 - 1 / 64
    assert [s.path for s in index.find(near, 5, rows=index.select(folder="/z"))] == ["/z/c.jpg"]
    assert [s.path for s in index.find(near, 1, rows=index.select(after=6.0, before=7.0))] == ["/b.mp4"]
    assert index.find(near, 5, rows=index.select(folder="/nothing")) == []
    assert [s.path for s in index.find(near, 9, rows=index.select(kind="photo"))] == ["/z/c.jpg"]


# ----------------------------------------------------------------------------------------------- moments


@given(cuts=st.lists(st.floats(0.01, 20), max_size=6, unique=True), end=st.floats(0.05, 20))
def test_moments_fill_the_video_and_cross_no_shot(cuts: list[float], end: float) -> None:
    cuts = sorted(cuts)
    rows = moments.spans(cuts, end, 0.5)
    assert rows[0, 0] == 0 and rows[-1, 1] == np.float32(end)
    np.testing.assert_array_equal(rows[1:, 0], rows[:-1, 1])
    inside = {np.float32(cut) for cut in cuts if cut < end}
    assert inside <= {*rows[:, 0]}
    assert (rows[:, 1] - rows[:, 0] < 0.751).all()


def test_a_moments_vector_is_the_mean_of_its_frames() -> None:
    rows = np.array([[0, 0.5], [0.5, 0.6], [0.6, 1.1]], np.float32)
    vectors = np.arange(10, dtype=np.float32).reshape(5, 2)
    times, means = moments.pooled([0, 0.25, 0.6, 0.75, 1.0], vectors, rows)
    np.testing.assert_allclose(times, rows[[0, 2]])
    np.testing.assert_allclose(means, [[1, 2], [6, 7]])


def test_a_folder_becomes_an_index_that_finds(tmp_path: Path) -> None:
    films, index = tmp_path / "films", tmp_path / "index"
    colour(films / "a.png", "red")
    colour(films / "deep" / "b.png", "green")
    clip(films / "c.mp4", ["blue", "white", "green"])
    (films / "notes.txt").write_text("no picture")
    colour(films / ".hidden" / "x.png", "red")
    report, encoded = add(index, films)
    assert (report.added, report.same, report.problems) == (3, 0, []) and report.moments == 2 + 6
    opened = Index.open(index, model="colours-1")
    encoder = Colours()
    for word, place, start, end in (("white", "c.mp4", 1.0, 2.0), ("red", "a.png", 0, 0), ("blue", "c.mp4", 0, 1.0)):
        best = opened.find(encoder.sentences([word])[0], 1)[0]
        assert (Path(best.path).name, best.start_s, best.end_s) == (place, start, end), word
    by_example = moments.example(colour(tmp_path / "like.png", "green"), encoder, Settings())
    assert {Path(found.path).name for found in opened.find(by_example, 2)} == {"b.png", "c.mp4"}
    whole = moments.example(clip(tmp_path / "like.mp4", ["blue"]), encoder, Settings())
    assert opened.find(whole, 1)[0].path == str(films / "c.mp4")
    report, encoded = add(index, films)
    assert (report.added, report.same, encoded) == (0, 3, 0)


def old(*paths: Path) -> None:
    """Makes files look settled."""
    for path in paths:
        os.utime(path, (1e9, 1e9))


def test_what_is_in_is_skipped_moved_files_are_found_and_gone_ones_dropped(tmp_path: Path) -> None:
    films, index = tmp_path / "films", tmp_path / "index"
    old(colour(films / "a.png", "red"), colour(films / "b.png", "green"), clip(films / "c.mp4", ["blue"]))
    add(index, films)
    (films / "c.mp4").rename(films / "d.mp4")
    shutil.copy(films / "a.png", films / "copy.png")
    report, encoded = add(index, films)
    assert (report.added, report.moved, report.same, report.removed, encoded) == (0, 2, 2, 1, 0)
    (films / "b.png").unlink()
    colour(films / "a.png", "white")
    report, encoded = add(index, films)
    assert (report.added, report.removed) == (1, 0)
    assert str(films / "b.png") in [row[0] for row in contents(index)]  # `add` takes nothing out
    report, _ = add(index, films, drop=True)
    assert report.removed == 1
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    add(tmp_path / "fresh", films)
    assert contents(index) == contents(tmp_path / "fresh")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        add(index, tmp_path / "unplugged", drop=True)
    assert contents(index) == contents(tmp_path / "fresh")


def test_broken_files_are_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films, index = tmp_path / "films", tmp_path / "index"
    colour(films / "good.png", "red")
    whole = clip(films / "good.mp4", ["blue", "green"], 2.0)
    (films / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    (films / "headless.mp4").write_bytes(whole.read_bytes()[:60])
    (films / "empty.mp4").write_bytes(b"")
    (films / "text.mp4").write_text("not a film at all, only named so")
    (films / "torn.png").write_bytes((films / "good.png").read_bytes()[:60])
    (films / "loop").symlink_to(films, target_is_directory=True)
    (films / "self.png").symlink_to(films / "self.png")
    (films / "gone.png").symlink_to(films / "nothing.png")
    growing = colour(films / "growing.png", "green")
    real = moments._photo_vector

    def grows(path: str, encoder: moments.Encoder) -> np.ndarray:
        if path == str(growing):
            growing.write_bytes(growing.read_bytes() + b"more")
        return real(path, encoder)

    monkeypatch.setattr(moments, "_photo_vector", grows)
    report, _ = add(index, films)
    told = {problem.file.name: problem.message for problem in report.problems}
    assert "cut off before its table of contents" in told["headless.mp4"]
    assert "0 bytes" in told["empty.mp4"]
    assert "not a video" in told["text.mp4"]
    assert "a link to a folder that it lies in" in told["loop"]
    assert "changed while it was read" in told["growing.png"]
    assert {"torn.png", "self.png", "gone.png"} <= told.keys()
    assert all(str(films) not in message and "\n" not in message for message in told.values())
    names = {Path(row[0]).name for row in contents(index)}
    assert {"good.png", "good.mp4"} <= names <= {"good.png", "good.mp4", "cut.mp4"}
    if "cut.mp4" in names:  # its start can be found, and the report says that the rest cannot
        assert "truncated or damaged" in told["cut.mp4"]
    monkeypatch.setattr(moments, "_photo_vector", real)
    report, _ = add(index, films)
    assert report.added >= 1 and "growing.png" in {Path(row[0]).name for row in contents(index)}


def test_folders_of_numbered_frames_can_be_videos(tmp_path: Path) -> None:
    films, index = tmp_path / "films", tmp_path / "index"
    for number in range(24):
        colour(films / "walk" / f"{number:05d}.png", "red" if number < 12 else "blue", number)
    colour(films / "walk2" / "alone.png", "green")
    report, _ = add(index, films, setup=Settings(frames_fps=12))
    rows = contents(index)
    assert [(Path(row[0]).name, row[1]) for row in rows] == [("walk", "video"), ("alone.png", "photo")]
    assert rows[0][4] == [[0, 0.5], [0.5, 1], [1, 1.5], [1.5, 2]] and not report.problems
    best = Index.open(index).find(Colours().sentences(["blue"])[0], 1)[0]
    assert (best.start_s, best.end_s) == (1.0, 2.0)
    report, _ = add(tmp_path / "photos", films)
    assert report.added == 25


def test_dates_come_from_exif_then_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2021:05:06 07:08:09"
    exif.get_ifd(0x8769)[0x9011] = "+02:00"
    Image.new("RGB", (32, 32)).save(path, exif=exif)
    assert moments.taken(path, "photo", 5) == 1620277689
    Image.new("RGB", (32, 32)).save(path)
    assert moments.taken(path, "photo", 5_000_000_000) == 5
    assert moments.taken(tmp_path / "none.mp4", "video", 7_000_000_000) == 7
