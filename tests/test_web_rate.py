"""The rating page: no answered rating is ever lost, nothing but the ratings is written, and strangers get nothing."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("fastapi", reason="the page needs fastapi: pip install 'percepta[web]'")
pytest.importorskip("httpx2", reason="the test client needs httpx2: pip install 'percepta[dev]'")

from fastapi.testclient import TestClient

from percepta.datasets.album import read_ratings, write_ratings
from percepta.datasets.ratings import Scale
from percepta.errors import BusyError, InputError
from percepta.web import local
from percepta.web import rate as page
from percepta.web.rate import Ranked, Ranking, RatingSession

STARS = Scale(1.0, 5.0, 1.0)
NAMES = ("a.jpg", "b c.jpg", "Ünï,cödé.jpg", "写真.png", 'say "hi" #1?.jpg')


def make(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.new("RGB", (40, 30), (40 * index, 80, 120)).save(folder / name)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "album")


def client(album: RatingSession) -> TestClient:
    return TestClient(page.app(album), base_url="http://127.0.0.1:8765")


def on_disk(folder: Path, scale: Scale = STARS) -> dict[str, float]:
    path = folder / "ratings.csv"
    if not path.exists() or path.read_text(encoding="utf-8").strip() == "file,score":
        return {}
    return read_ratings(path, None, scale)


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def constant(ratings: Mapping[str, float]) -> Ranking:
    order = tuple(Ranked(name, ratings.get(name, 3.0), 0.5) for name in NAMES)
    return Ranking(tuple(sorted(order, key=lambda entry: -entry.score)), tuple(n for n in NAMES if n not in ratings))


# -------------------------------------------------------------------------------- ratings against a plain dict

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("rate"), st.sampled_from(NAMES), st.sampled_from([1.0, 2.0, 5.0])),
        st.tuples(st.just("rate"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("undo"), st.none(), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
        st.tuples(st.just("edit"), st.sampled_from(NAMES), st.sampled_from([3.0, 4.0])),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(ACTIONS)
def test_any_sequence_of_changes_equals_a_plain_dict(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, str | None, float | None]]
) -> None:
    folder = make(tmp_path_factory.mktemp("album"))
    album = RatingSession(folder)
    expected: dict[str, float] = {}
    history: list[dict[str, float]] = []
    for kind, file, score in actions:
        if kind == "restart":
            album.close()
            album, history = RatingSession(folder), []
        elif kind == "edit" and file and score:
            if expected.get(file) != score:
                history = []
            expected = {**expected, file: score}
            write_ratings(folder / "ratings.csv", expected)
        elif kind == "undo" and history:
            expected = history.pop()
            album.undo()
        elif kind == "undo":
            with pytest.raises(LookupError):
                album.undo()
        elif file:
            after = {name: value for name, value in {**expected, file: score}.items() if value is not None}
            if after != expected:
                history.append(expected)
            expected = after
            album.rate(file, score)
        assert on_disk(folder) == expected
    assert album.state()["ratings"] == expected == album.ratings
    album.close()


def test_the_api_gives_back_what_was_rated(folder: Path) -> None:
    album = RatingSession(folder)
    with client(album) as web:
        for index, name in enumerate(NAMES):
            answer = web.post("/api/rate", json={"file": name, "score": index + 1})
            assert answer.status_code == 200 and answer.json()["score"] == index + 1
            assert on_disk(folder)[name] == index + 1
        assert web.get("/api/state").json()["ratings"] == {name: i + 1 for i, name in enumerate(NAMES)}
        version = web.post("/api/rate", json={"file": "a.jpg", "score": None}).json()["version"]
        assert "a.jpg" not in on_disk(folder)
        assert web.post("/api/undo", json={"version": version - 1}).status_code == 409  # meant an older state
        assert web.post("/api/undo", json={"version": version}).json()["file"] == "a.jpg"
        assert on_disk(folder)["a.jpg"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"file": "a.jpg", "score": 6}, 409),
        ({"file": "a.jpg", "score": 2.25}, 409),
        ({"file": "a.jpg", "score": "4"}, 400),
        ({"file": "a.jpg", "score": True}, 400),
        ({"file": "a.jpg"}, 400),
        ({"file": "a.jpg", "score": 4, "more": 1}, 400),
        ({"file": "ratings.csv", "score": 4}, 404),
        ({"file": "../album/a.jpg", "score": 4}, 404),
        ([], 400),
    ],
)
def test_a_wrong_rating_is_refused_in_one_sentence(folder: Path, body: Any, status: int) -> None:
    with client(RatingSession(folder)) as web:
        answer = web.post("/api/rate", json=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"} and "\n" not in answer.json()["error"]
    assert on_disk(folder) == {}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1e400", "{", ""])
def test_numbers_that_are_none_are_refused(folder: Path, text: str) -> None:
    with client(RatingSession(folder)) as web:
        body = f'{{"file": "a.jpg", "score": {text}}}'
        answer = web.post("/api/rate", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500 and on_disk(folder) == {}


@pytest.mark.parametrize(
    ("scale", "good", "bad"),
    [(Scale(1.0, 7.0, 1.0), 7, 7.5), (Scale(0.5, 5.0, 0.5), 2.5, 2.25), (Scale(0.0, 100.0), 33.3, -1)],
)
def test_other_scales(folder: Path, scale: Scale, good: float, bad: float) -> None:
    album = RatingSession(folder, scale=scale)
    album.rate("a.jpg", float(good))
    with pytest.raises(ValueError, match="scale"):
        album.rate("a.jpg", float(bad))
    assert on_disk(folder, scale) == {"a.jpg": good}


# --------------------------------------------------------------------------------------------- losing nothing


def test_clicks_from_many_threads_lose_nothing(tmp_path: Path) -> None:
    names = tuple(f"{index}.png" for index in range(40))
    folder = make(tmp_path / "album", names)
    first = RatingSession(folder)
    with client(first) as web, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: web.post("/api/rate", json={"file": name, "score": 4}), names))
    assert [answer.status_code for answer in answers] == [200] * len(names)
    assert on_disk(folder) == dict.fromkeys(names, 4)
    with pytest.raises(
        BusyError, match=rf"ratings are busy: another percepta \(process {os.getpid()} on .*writes to it"
    ):
        RatingSession(folder)
    first.close()
    second = RatingSession(folder)
    second.rate("0.png", 1.0)
    assert on_disk(folder) == dict.fromkeys(names, 4) | {"0.png": 1}
    second.close()


def test_leftovers_of_a_killed_server_are_removed(folder: Path) -> None:
    for name in (".ratings.csv.77-88.tmp", ".ratings.csv.9.tmp", ".other.tmp"):
        (folder / name).touch()
    RatingSession(folder).close()
    assert [p.name for p in sorted(folder.glob(".*.tmp"))] == [".other.tmp"]


def test_a_pipe_in_the_place_of_the_ratings_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "ratings.csv")
    with pytest.raises(InputError, match="a pipe or a device"):
        RatingSession(folder)
    (folder / "ratings.csv").unlink()
    RatingSession(folder).close()  # the lock was let go


@pytest.mark.parametrize(
    ("length", "status"),
    [("65537", 413), ("99999999999999", 413), (str(64 << 10), 400), ("-1", 411), ("two", 411), (None, 411)],
)
def test_a_large_body_is_refused_before_it_is_read(folder: Path, length: str | None, status: int) -> None:
    headers = {"Content-Type": "application/json"} | ({} if length is None else {"Content-Length": length})
    album = RatingSession(folder)
    with client(album) as web:  # a body that comes in pieces has no length of its own
        answer = web.post("/api/rate", content=iter([b" " * 64] * 1024), headers=headers)
    assert answer.status_code == status
    album.close()


def test_an_edit_by_hand_is_kept_and_ends_what_can_be_undone(folder: Path) -> None:
    album = RatingSession(folder)
    album.rate("a.jpg", 4.0)
    (folder / "ratings.csv").write_text("file,score\na.jpg,4\n写真.png,2\n", encoding="utf-8")
    assert album.state()["ratings"] == {"a.jpg": 4, "写真.png": 2}
    with pytest.raises(LookupError, match="nothing to undo"):
        album.undo()
    (folder / "ratings.csv").write_text("file,score\na.jpg,5\n写真.png,2\n", encoding="utf-8")
    album.rate("b c.jpg", 1.0)
    assert on_disk(folder) == {"a.jpg": 5, "写真.png": 2, "b c.jpg": 1}


@pytest.mark.parametrize(
    "text", ["file,score\na.jpg,good\n", "file,score\nother.jpg,4\n", "file,score,note\na.jpg,4,x\n", ""]
)
def test_a_file_that_cannot_be_read_any_more_is_not_overwritten(folder: Path, text: str) -> None:
    album = RatingSession(folder)
    album.rate("a.jpg", 4.0)
    (folder / "ratings.csv").write_text(text, encoding="utf-8")
    with client(album) as web:
        answer = web.post("/api/rate", json={"file": "b c.jpg", "score": 3})
        assert answer.status_code == 409 and "ratings.csv" in answer.json()["error"]
        assert "ratings.csv" in web.get("/api/state").json()["problem"]
    assert (folder / "ratings.csv").read_text(encoding="utf-8") == text
    if text:  # a new start with an empty file is a beginning
        with pytest.raises(ValueError, match=r"ratings\.csv"):
            RatingSession(folder)


def test_a_file_that_was_deleted_is_not_begun_anew_in_silence(folder: Path) -> None:
    album = RatingSession(folder)
    album.rate("a.jpg", 4.0)
    (folder / "ratings.csv").unlink()
    with pytest.raises(ValueError, match="is gone"):
        album.rate("b c.jpg", 3.0)
    assert not (folder / "ratings.csv").exists()
    album.close()
    RatingSession(folder).rate("b c.jpg", 3.0)
    assert on_disk(folder) == {"b c.jpg": 3}


def test_a_disk_that_refuses_leaves_everything_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album = RatingSession(folder)
    album.rate("a.jpg", 4.0)

    def full(path: Path, ratings: Mapping[str, float]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, client(album) as web:
        patch.setattr(page, "write_ratings", full)
        for path, body in (("/api/rate", {"file": "b c.jpg", "score": 3}), ("/api/undo", {"version": None})):
            answer = web.post(path, json=body)
            assert answer.status_code == 503 and "No space" in answer.json()["error"]
    assert album.ratings == on_disk(folder) == {"a.jpg": 4}
    assert album.undo()["file"] == "a.jpg" and on_disk(folder) == {}


def test_ratings_elsewhere_and_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("file,score\na.jpg,2\n", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to(tmp_path / "mine.csv")
    RatingSession(folder, tmp_path / "link.csv").rate("b c.jpg", 5.0)
    assert (tmp_path / "link.csv").is_symlink()
    assert read_ratings(tmp_path / "mine.csv", None, STARS) == {"a.jpg": 2, "b c.jpg": 5}
    assert not (folder / "ratings.csv").exists()


def test_names_composed_and_decomposed_are_one(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "é.png")
    folder = make(tmp_path / "album", (name,))
    (folder / "ratings.csv").write_text("file,score\n" + unicodedata.normalize("NFC", name) + ",4\n", encoding="utf-8")
    album = RatingSession(folder)
    assert album.state()["ratings"] == {name: 4}
    album.rate(name, 2.0)
    assert list(on_disk(folder).values()) == [2]


SERVER = """
import sys
from pathlib import Path
from percepta.web.rate import RatingSession, serve
serve(RatingSession(Path(sys.argv[1])), port=0, open_browser=False, on_ready=lambda url: print(url, flush=True))
"""


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", SERVER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, urlsplit(process.stdout.readline()).netloc
        finally:
            process.kill()


def call(host: str, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection(host, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())


def test_no_answered_rating_is_lost_by_kill_9_and_ctrl_c_is_clean(tmp_path: Path) -> None:
    names = tuple(f"{index}.png" for index in range(300))
    folder = make(tmp_path / "album", names)
    answered: list[str] = []
    with server(folder) as (process, host):

        def click() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                for name in names:
                    call(host, "POST", "/api/rate", {"file": name, "score": 3})
                    answered.append(name)

        thread = threading.Thread(target=click)
        thread.start()
        wait_for(lambda: len(answered) >= 25, 60)
        process.send_signal(signal.SIGKILL)
        thread.join()
    assert 25 <= len(answered) < len(names)
    kept = on_disk(folder)
    assert set(answered) <= set(kept) and len(kept) <= len(answered) + 1  # one may have been written, unanswered
    with server(folder) as (process, host):
        assert call(host, "GET", "/api/state")["ratings"] == kept
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, out, errors) == (0, "", "")
    left = {path.name for path in folder.iterdir()} - set(names) - {"ratings.csv"}
    assert len(left) <= 1  # what was being written when the process was killed


def test_only_the_ratings_are_written(folder: Path) -> None:
    def digest() -> dict[str, str]:
        there = [p for p in folder.iterdir() if p.name not in ("ratings.csv", ".ratings.csv.lock")]
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in there}

    before = digest()
    album = RatingSession(folder, rank=constant)
    with client(album) as web:
        for picture in web.get("/api/state").json()["pictures"]:
            web.get(f"/picture/{picture['key']}?side=1600")
            web.post("/api/rate", json={"file": picture["file"], "score": 2})
    album.close()
    assert digest() == before and len(on_disk(folder)) == len(NAMES)


# ------------------------------------------------------------------------------------------------- the model


def test_the_list_follows_the_ratings(folder: Path) -> None:
    album = RatingSession(folder, rank=constant)
    with client(album) as web:
        version = web.post("/api/rate", json={"file": "写真.png", "score": 5}).json()["version"]
        wait_for(lambda: album.ranking()["version"] == version)
        ranking = web.get("/api/ranking").json()
        assert ranking["order"][0] == ["写真.png", 5.0, 0.5] and not ranking["busy"] and ranking["error"] == ""
        assert ranking["ask"] == [name for name in NAMES if name != "写真.png"]
        assert "order" not in web.get(f"/api/ranking?have={version}").json()
    album.close()


def test_a_slow_model_holds_nothing_up_and_the_newest_ratings_win(folder: Path) -> None:
    started, release, seen = threading.Event(), threading.Event(), []

    def slow(ratings: Mapping[str, float]) -> Ranking:
        seen.append(dict(ratings))
        started.set()
        assert release.wait(30)
        return constant(ratings)

    album = RatingSession(folder, rank=slow)
    assert started.wait(10)
    with client(album) as web:
        for score in (1, 2, 3, 4):
            assert web.post("/api/rate", json={"file": "a.jpg", "score": score}).status_code == 200
        assert on_disk(folder) == {"a.jpg": 4} and web.get("/api/state").json()["ranking"]["busy"]
        release.set()
        wait_for(lambda: album.ranking()["version"] == 4)
    assert seen == [{}, {"a.jpg": 4}]
    album.close()


def broken_model(ratings: Mapping[str, float]) -> Ranking:
    raise RuntimeError("the weights are torn")


def strange_model(ratings: Mapping[str, float]) -> Ranking:
    return Ranking((Ranked("a.jpg", float("nan"), 0.1),))


def foreign_model(ratings: Mapping[str, float]) -> Ranking:
    return Ranking((), ("elsewhere.jpg",))


@pytest.mark.parametrize(
    ("rank", "message"), [(broken_model, "torn"), (strange_model, "a.jpg"), (foreign_model, "elsewhere")]
)
def test_a_model_that_fails_costs_no_rating(folder: Path, rank: page.Rank, message: str) -> None:
    album = RatingSession(folder, rank=rank)
    with client(album) as web:
        assert web.post("/api/rate", json={"file": "a.jpg", "score": 4}).status_code == 200
        wait_for(lambda: not album.ranking()["busy"])
        assert message in web.get("/api/state").json()["ranking"]["error"]
        assert web.post("/api/rate", json={"file": "a.jpg", "score": 5}).status_code == 200
    assert on_disk(folder) == {"a.jpg": 5}
    album.close()


def test_a_model_that_recovers_clears_its_error_and_keeps_the_last_list_until_then(folder: Path) -> None:
    def moody(ratings: Mapping[str, float]) -> Ranking:
        if len(ratings) == 1:
            raise ValueError("one rating is too few")
        return constant(ratings)

    album = RatingSession(folder, rank=moody)
    wait_for(lambda: album.ranking()["version"] == 0)
    album.rate("a.jpg", 4.0)
    wait_for(lambda: album.ranking()["error"] != "")
    assert len(album.ranking()["order"]) == len(NAMES) and album.ranking()["version"] == 0
    album.rate("b c.jpg", 2.0)
    wait_for(lambda: album.ranking()["version"] == 2)
    assert album.ranking()["error"] == ""
    album.close()


# ------------------------------------------------------------------------------------------------- pictures


def keys(album: RatingSession) -> dict[str, str]:
    return {picture["file"]: picture["key"] for picture in album.state()["pictures"]}


def test_pictures_are_shrunk_turned_and_cached_by_the_browser(tmp_path: Path) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.new("RGB", (2000, 1000), "navy").save(folder / "turned.jpg", exif=exif)
    album = RatingSession(folder)
    with client(album) as web:
        url = f"/picture/{keys(album)['turned.jpg']}"
        for side in page.SIDES:
            answer = web.get(f"{url}?side={side}")
            assert answer.headers["content-type"] == "image/jpeg"
            assert Image.open(BytesIO(answer.content)).size == (side // 2, side)
        tag = answer.headers["etag"]
        assert web.get(f"{url}?side=1600", headers={"If-None-Match": tag}).status_code == 304
        Image.new("RGB", (20, 10), "red").save(folder / "turned.jpg")
        fresh = web.get(f"{url}?side=1600", headers={"If-None-Match": tag})
        assert fresh.status_code == 200 and Image.open(BytesIO(fresh.content)).size == (20, 10)
        assert web.get(f"{url}?side=5000").status_code == 422
        assert album.broken == {}


def test_a_broken_picture_is_listed_and_can_be_mended(folder: Path) -> None:
    whole = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(b"")
    noise = Image.effect_noise((400, 300), 90)
    noise.save(folder / "torn.jpg")
    (folder / "torn.jpg").write_bytes((folder / "torn.jpg").read_bytes()[:4000])
    album = RatingSession(folder)
    with client(album) as web:
        broken = {p["file"]: p["broken"] for p in web.get("/api/state").json()["pictures"] if p["broken"]}
        assert set(broken) == {"a.jpg"} and "empty" in broken["a.jpg"]
        answer = web.get(f"/picture/{keys(album)['torn.jpg']}")  # its header is whole
        assert answer.status_code == 422 and "torn.jpg" in answer.json()["error"]
        assert set(album.broken) == {"a.jpg", "torn.jpg"} and str(folder) not in str(album.broken)
        assert web.post("/api/rate", json={"file": "a.jpg", "score": 4}).status_code == 409
        (folder / "a.jpg").write_bytes(whole)
        assert web.get(f"/picture/{keys(album)['a.jpg']}").status_code == 200
        assert web.post("/api/rate", json={"file": "a.jpg", "score": 4}).status_code == 200
        (folder / "b c.jpg").unlink()
        assert web.get(f"/picture/{keys(album)['b c.jpg']}").status_code == 422


def test_the_cache_keeps_to_its_size(tmp_path: Path) -> None:
    folder = make(tmp_path / "album", tuple(f"{index}.png" for index in range(20)))
    cache = page._Thumbnails(2000)
    for _ in range(2):
        for path in sorted(folder.iterdir()):
            assert cache.get(path, "tag", 320) == page._jpeg(path, 320) == cache.get(path, "tag", 320)
            assert cache._bytes == sum(map(len, cache._kept.values())) <= 2000


# --------------------------------------------------------------------------------------------------- safety


@pytest.mark.parametrize(
    "path",
    [
        "/picture/..%2F..%2Fsecret.jpg",
        "/picture/../../etc/passwd",
        "/picture/a.jpg",
        "/picture/ratings.csv",
        "/picture/%00",
        "/picture/0",
        "/a.jpg",
        "/ratings.csv",
        "/rate.py",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_but_listed_pictures_is_served(folder: Path, path: str) -> None:
    (folder.parent / "secret.jpg").write_bytes((folder / "a.jpg").read_bytes())
    album = RatingSession(folder)
    album.rate("a.jpg", 3.0)
    with client(album) as web:
        assert web.get(path).status_code == 404


def test_links_out_of_the_album_are_left_out(folder: Path) -> None:
    outside = make(folder.parent / "private", ("secret.jpg",)) / "secret.jpg"
    (folder / "link.jpg").symlink_to(outside)
    (folder / "inner.jpg").symlink_to(folder / "a.jpg")
    album = RatingSession(folder)
    assert "link.jpg" not in album.files and "inner.jpg" in album.files
    assert len(album.left_out) == 1 and "link.jpg" in album.left_out[0]
    (folder / "b c.jpg").unlink()
    (folder / "b c.jpg").symlink_to(outside)  # put there while the page is open
    with client(album) as web:
        assert web.get(f"/picture/{keys(album)['b c.jpg']}").status_code == 422
        assert web.get(f"/picture/{keys(album)['inner.jpg']}").status_code == 200


def test_a_name_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    try:
        folder = make(tmp_path / "odd\udcff")
        (folder / "bad\udcff.jpg").write_bytes((folder / "a.jpg").read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("this file system takes Unicode names only")
    album = RatingSession(folder, rank=constant)
    assert set(album.files) == set(NAMES) and "not valid Unicode" in album.left_out[0]
    with client(album) as web:
        assert web.get("/api/state").status_code == 200
        answer = web.post("/api/rate", content='{"file": "bad\\udcff.jpg", "score": 3}', headers=JSON)
        assert 400 <= answer.status_code < 500
    album.close()


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", "localhost.evil:8765"]
)
def test_a_foreign_host_gets_nothing(folder: Path, host: str) -> None:
    album = RatingSession(folder)
    with client(album) as web:
        for path in ("/", "/api/state", f"/picture/{keys(album)['a.jpg']}"):
            assert web.get(path, headers={"Host": host}).status_code == 403
        body = {"file": "a.jpg", "score": 3}
        assert web.post("/api/rate", json=body, headers={"Host": host}).status_code == 403
        assert web.get("/", headers={"Host": "localhost:8765"}).status_code == 200
    assert on_disk(folder) == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"} | JSON, 403),
        ({"Origin": "null"} | JSON, 403),
        ({"Origin": "http://127.0.0.1:9999"} | JSON, 403),
        ({"Origin": "https://127.0.0.1:8765"} | JSON, 403),
        ({"Sec-Fetch-Site": "cross-site"} | JSON, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        ({"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"} | JSON, 200),
        (JSON, 200),
    ],
)
def test_other_sites_cannot_rate(folder: Path, headers: dict[str, str], status: int) -> None:
    with client(RatingSession(folder)) as web:
        answer = web.post("/api/rate", content=b'{"file": "a.jpg", "score": 3}', headers=headers)
    assert answer.status_code == status
    assert on_disk(folder) == ({"a.jpg": 3} if status == 200 else {})


def test_other_sites_cannot_look(folder: Path) -> None:
    album = RatingSession(folder)
    with client(album) as web:
        for site in ("cross-site", "same-site"):
            answer = web.get(f"/picture/{keys(album)['a.jpg']}", headers={"Sec-Fetch-Site": site})
            assert answer.status_code == 403
            assert web.get("/", headers={"Sec-Fetch-Site": site}).status_code == 200  # a link may lead here


def test_every_answer_carries_the_protecting_headers(folder: Path) -> None:
    album = RatingSession(folder)
    with client(album) as web:
        answers = [web.get(path) for path in ("/", "/api/state", "/nowhere", f"/picture/{keys(album)['a.jpg']}")]
        answers.append(web.get("/", headers={"Host": "evil.example"}))
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] in ("no-store", "private, no-cache")
        assert "set-cookie" not in answer.headers and "access-control-allow-origin" not in answer.headers


def test_the_page_asks_nothing_of_anybody_else_and_its_policy_fits_it() -> None:
    html = Path(page.__file__).with_suffix(".html").read_text(encoding="utf-8")
    outside = [url for url in re.findall(r"https?://[^\s\"'<>)]+", html) if url != "http://www.w3.org/2000/svg"]
    assert outside == []
    assert re.findall(r"\son\w+=|\sstyle=|innerHTML|eval\(|document\.cookie|localStorage", html) == []
    policy = local._content_policy(html)
    assert policy.count("'sha256-") == 2 and "unsafe" not in policy


def test_a_browser_runs_the_page_under_its_policy(folder: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the page with")
    album = RatingSession(folder)
    album.rate("写真.png", 4.0)
    album.close()
    with server(folder) as (_, host):
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
        command += ["--virtual-time-budget=4000", "--dump-dom", f"http://{host}/#{quote('写真.png')}"]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
    assert "1 of 5 rated" in done.stdout and "saved in ratings.csv" in done.stdout
    assert '<span id="file">写真.png</span>' in done.stdout and "4 of 5" in done.stdout
    assert done.stdout.count('class="star full"') == 4
    assert 'aria-label="Ünï,cödé.jpg, not rated"' in done.stdout


def test_the_server_listens_on_this_machine_only_and_finds_a_free_port() -> None:
    with local._listen(0) as first:
        address, port = first.getsockname()
        with local._listen(port) as second:
            assert address == second.getsockname()[0] == "127.0.0.1"
            assert second.getsockname()[1] != port
    with pytest.raises(ValueError, match="65535"):
        local._listen(70000)


# -------------------------------------------------------------------------------------------------- bad input


def test_further_columns_are_refused_at_the_start(folder: Path) -> None:
    (folder / "ratings.csv").write_text("file,score,note\na.jpg,4,lovely\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: column 'note' would be lost"):
        RatingSession(folder)


def test_a_rating_of_an_unknown_picture_is_refused_at_the_start(folder: Path) -> None:
    (folder / "ratings.csv").write_text("file,score\na.jpg,4\nb d.jpg,3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 3"):
        RatingSession(folder)


@pytest.mark.parametrize("text", ["", "\n", "file,score\n", "\ufefffile;score\r\n"])
def test_a_file_without_ratings_is_a_beginning(folder: Path, text: str) -> None:
    (folder / "ratings.csv").write_text(text, encoding="utf-8")
    album = RatingSession(folder)
    assert album.ratings == {}
    album.rate("a.jpg", 4.0)
    album.rate("a.jpg", None)
    album.rate("a.jpg", 2.0)
    assert on_disk(folder) == {"a.jpg": 2}


def test_an_album_needs_a_folder_with_pictures(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OSError):
            RatingSession(folder)
