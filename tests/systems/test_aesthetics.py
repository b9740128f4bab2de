"""Albums: the algebra against a slow posterior, the cache against none, reasons against edits by hand, bad input."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

import percepta
from percepta import pretrained, report
from percepta.datasets.album import STARS, read_ratings
from percepta.datasets.ratings import Scale
from percepta.media.image import squeeze_square
from percepta.shell import UsageError, parse
from percepta.systems.aesthetics import PRESETS, commands, page, predict, task
from percepta.systems.aesthetics import cache as caches
from percepta.systems.aesthetics.attributes import ATTRIBUTES, attributes
from percepta.systems.aesthetics.model import AestheticsNetwork, in_parallel
from percepta.systems.aesthetics.page import album_blocks
from percepta.systems.aesthetics.predict import Album, open_album
from percepta.systems.aesthetics.taste import TasteHead
from percepta.systems.aesthetics.why import EDITS, by_content, reasons, taken_out, toward
from percepta.systems.aesthetics.world import world
from percepta.train import train

COUNT = 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny model, trained for a few steps on the synthetic world."""
    config = PRESETS["tiny"]
    short = replace(config, members=(0, 1), train=replace(config.train, steps=25))
    out = tmp_path_factory.mktemp("aesthetics") / "run"
    train("aesthetics", short, out=out, device="cpu")
    return out


@pytest.fixture(scope="module")
def model(run: Path) -> AestheticsNetwork:
    net = percepta.load(run, device="cpu").model
    assert isinstance(net, AestheticsNetwork)
    return net


def taste(model: AestheticsNetwork) -> TasteHead:
    assert isinstance(model.head, TasteHead)
    return model.head


@pytest.fixture(scope="module")
def lite() -> AestheticsNetwork:
    """The encoder that sees real pictures, with a head whose taste was drawn, not learned."""
    torch.manual_seed(0)
    net = task.build(replace(PRESETS["small"], members=(0,))).eval()
    pretrained.fill(net, task.PRETRAINED, {})
    assert isinstance(net, AestheticsNetwork)
    images = torch.rand(24, 3, 8, 8).repeat_interleave(28, 2).repeat_interleave(28, 3)
    with torch.no_grad():
        features = net.features(images)
        net.fit_normalisation(features)
        head = taste(net)
        head.crowd.copy_(torch.randn_like(head.crowd))
        head.directions.copy_(torch.randn_like(head.directions) * 0.3)
        head.level.fill_(4.0)
    return net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of the synthetic world, larger than the network sees them, in three formats."""
    folder = tmp_path / "Ferien ünd 写真"
    folder.mkdir()
    images, _ = world(48, 3)
    for index, image in enumerate(images[:COUNT]):
        suffix = ("png", "jpg", "webp")[index % 3]
        Image.fromarray(image.permute(1, 2, 0).numpy()).resize((96, 72)).save(folder / f"夏 {index:02d}.{suffix}")
    return folder


def stars(names: tuple[str, ...], seed: int, count: int) -> dict[str, float]:
    """Ratings of `count` pictures, at least two of them different."""
    rng = np.random.default_rng(seed)
    values = rng.integers(2, 11, count) / 2
    values[:2] = 1, 5
    return dict(zip(rng.permutation(names)[:count].tolist(), values.tolist(), strict=True))


def fingerprint(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def numbers(album: Album) -> list[tuple[float, float, float]]:
    return [(result.score, result.deviation, result.crowd) for result in album.results()]


# ------------------------------------------------------------------------------------------- what is learned


def joint(
    model: AestheticsNetwork, member: int, looks: torch.Tensor, who: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and covariance of somebody's scores of all pictures, written out in double precision, and the noise."""
    head = taste(model)
    x, directions = looks.double().numpy(), head.directions[member].double().detach().numpy()
    crowd, profile = head.crowd[member].double().numpy(), head.profile[member].double().detach().numpy()
    rest, offset, noise, follow = head.log_variances[member].double().exp().tolist()
    n = len(x)
    mean = np.array(
        [
            float(head.level[member]) + x[i] @ crowd + (x[i] @ directions) @ (who.double().numpy() @ profile)
            for i in range(n)
        ]
    )
    covariance = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            z = (x[i] @ directions) @ (x[j] @ directions)
            covariance[i, j] = z + rest * (x[i] @ x[j]) + offset + follow * (x[i] @ crowd) * (x[j] @ crowd)
    return mean, covariance, noise + float(head.misfit[member])


def posterior(mean: np.ndarray, covariance: np.ndarray, noise: float, rated: list[int], scores: np.ndarray):
    """Mean and covariance after ratings: Rasmussen and Williams, eq. 2.23 and 2.24, by a plain inverse."""
    inverse = np.linalg.inv(covariance[np.ix_(rated, rated)] + noise * np.eye(len(rated)))
    across = covariance[:, rated]
    return mean + across @ inverse @ (scores - mean[rated]), covariance - across @ inverse @ across.T


@pytest.mark.parametrize("profile", [None, {"age": 70, "gender": "female"}])
def test_adaptation_is_the_posterior(model: AestheticsNetwork, folder: Path, profile: dict | None) -> None:
    scale = Scale(0, 10)
    album = open_album(model, folder, profile=profile, scale=scale)
    ratings = {name: 2 * score for name, score in stars(album.files, 5, 9).items()}
    album.rate(ratings)
    rated = [album.files.index(name) for name in ratings]
    scores = np.array([1 + score / 10 * 6 for score in ratings.values()])  # the world's scale is 1 to 7
    who = album._person.who
    assert bool(profile) == bool(who.abs().sum() > 0)
    means, variances = [], []
    for member in model.config.predicting:
        mean, covariance, noise = joint(model, member, album._features, who)
        mean, covariance = posterior(mean, covariance, noise, rated, scores)
        means.append(mean)
        variances.append(np.diagonal(covariance))
    misfit = float(taste(model).misfit[list(model.config.predicting)].mean())
    expected = (np.mean(means, 0) - 1) / 6 * 10
    deviation = np.sqrt(np.mean(variances, 0) + misfit + np.var(means, axis=0)) / 6 * 10
    got = np.array(numbers(album))
    np.testing.assert_allclose(got[:, 0], expected, atol=2e-3)
    np.testing.assert_allclose(got[:, 1], deviation, atol=2e-3)
    assert np.ptp(got[:, 0] - got[:, 2]) > 0.1, "a person is not the crowd"


def test_what_is_asked_tells_most(model: AestheticsNetwork, folder: Path) -> None:
    """By brute force: how far the variance of all unrated pictures' scores around their mean falls with each rating."""
    album = open_album(model, folder)
    album.rate(stars(album.files, 1, 5))
    rated = [album.files.index(name) for name in album.ratings]
    unrated = [index for index in range(COUNT) if index not in rated]
    unit = torch.nn.functional.normalize(album._features.double()).numpy()
    asked: list[int] = []
    centre = np.eye(len(unrated)) - 1 / len(unrated)

    def left(known: list[int]) -> float:
        total = 0.0
        for member in model.config.predicting:
            mean, covariance, noise = joint(model, member, album._features, album._person.who)
            covariance = posterior(mean, covariance, noise, known, mean[known])[1][np.ix_(unrated, unrated)]
            total += np.trace(centre @ covariance @ centre)
        return total

    for _ in range(4):
        fresh = [i for i in unrated if i not in asked and (unit[i] @ unit[[*rated, *asked]].T).max() <= 0.9]
        asked.append(min(fresh or [i for i in unrated if i not in asked], key=lambda i: left([*rated, *asked, i])))
    assert album.ask(4) == [album.files[index] for index in asked]


def test_a_copy_is_not_asked_beside_its_original(model: AestheticsNetwork, folder: Path) -> None:
    first = open_album(model, folder).ask(1)[0]
    twin = folder / f"zz{first}"
    shutil.copy(folder / first, twin)
    album = open_album(model, folder)
    asked = album.ask(COUNT + 5)
    assert sorted(asked) == sorted(album.files), "each once, however many are wanted"
    places = sorted((asked.index(first), asked.index(twin.name)))
    unit = torch.nn.functional.normalize(album._features)
    alike = (unit @ unit.T > 0.9).sum(1) > 1
    assert places[1] >= int((~alike).sum()), "all that are new come before the second of two"
    album.rate({first: 1, album.files[3]: 5})
    assert first not in album.ask(99) and album.ask(0) == []


def test_ratings_add_up(model: AestheticsNetwork, folder: Path) -> None:
    one, other = open_album(model, folder), open_album(model, folder)
    ratings = stars(one.files, 2, 8)
    one.rate(ratings)
    for name, score in reversed(ratings.items()):
        other.rate({name: score})
    np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-3)
    extra = next(name for name in one.files if name not in ratings)
    other.rate({extra: 1.5})
    assert not np.allclose(numbers(one), numbers(other), atol=1e-3)
    other.rate({extra: None})
    np.testing.assert_allclose(numbers(one), numbers(other), atol=1e-3)
    other.rate({extra: 1.5, one.files[0]: 2}, replace=True)
    assert set(other.ratings) == {extra, one.files[0]}


def test_few_ratings_are_not_yet_a_taste(model: AestheticsNetwork, folder: Path) -> None:
    album = open_album(model, folder, profile={"age": 20})
    before = numbers(album)
    assert album.note == "" or "no ratings" in album.note
    album.rate({album.files[0]: 4, album.files[1]: 4})
    assert "all 4" in album.note and numbers(album) == before and len(album.ratings) == 2
    assert any(isinstance(item, report.Text) and "all 4" in item.text for item in album_blocks(album, why=0))
    album.rate({album.files[1]: 2})
    assert album.note == "" and numbers(album) != before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(low=st.integers(-5, 5), length=st.integers(1, 20), seed=st.integers(0, 99))
def test_the_scale_is_only_a_way_to_write(model: AestheticsNetwork, low: int, length: int, seed: int) -> None:
    images, _ = world(48, 3)
    sources = list(images[:8])
    scale = Scale(low, low + length)
    plain, other = (open_album(model, sources, scale=one) for one in (PRESETS["tiny"].scale, scale))
    ratings = dict(
        zip(plain.files, np.random.default_rng(seed).permutation([1.0, 2, 3, 4, 5, 6, 7, 7]).tolist(), strict=True)
    )
    plain.rate(ratings)
    other.rate({name: min(scale.from_unit(plain.scale.unit(score)), low + length) for name, score in ratings.items()})
    for a, b in zip(plain.results(), other.results(), strict=True):
        assert (b.score - low) / length == pytest.approx((a.score - 1) / 6, abs=2e-3)
        assert b.deviation / length == pytest.approx(a.deviation / 6, abs=2e-3)
        assert (b.crowd - low) / length == pytest.approx((a.crowd - 1) / 6, abs=2e-3)
        assert (b.low, b.high) == (low, low + length)


def test_a_single_picture_answers_like_its_album(run: Path, model: AestheticsNetwork, folder: Path) -> None:
    album = open_album(model, folder)
    path = folder / album.files[4]
    system = percepta.load(run, system="aesthetics", device="cpu")
    one = system.predict(path)
    assert (one.low, one.high, one.name) == (1, 5, path.name), "stars, as in the shell"
    assert one.score == pytest.approx(album.results()[4].score, abs=1e-4)
    with Image.open(path) as picture:
        for given in (picture.copy(), np.asarray(picture), torch.from_numpy(np.array(picture)).permute(2, 0, 1)):
            assert system.predict(given).score == pytest.approx(one.score, abs=1e-4)
    assert one.crowd == one.score, "without profile and ratings nobody is meant"
    assert system.predict(path, profile={"age": 75}).score != one.score


def test_threads_agree_and_are_given_back(model: AestheticsNetwork, folder: Path) -> None:
    before = torch.get_num_threads()
    assert list(in_parallel(lambda i: (i, torch.get_num_threads(), torch.is_grad_enabled()), 40)) == [
        (i, 1, False) for i in range(40)
    ]
    seen: list[int] = []

    def fail(index: int) -> int:
        seen.append(index)
        if index == 3:
            raise RuntimeError("no")
        time.sleep(0.005)  # not all of them are done before the error is looked at, however threads are scheduled
        return index

    with pytest.raises(RuntimeError, match="no"):
        list(in_parallel(fail, 1000))
    assert len(seen) < 1000 and torch.get_num_threads() == before and torch.is_grad_enabled()


# ------------------------------------------------------------------------------------------------- the cache


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read and hashed from now on."""
    names: list[str] = []

    def read(path: Path) -> caches.FileVersion:
        names.append(path.name)
        return caches.hash_file(path)

    monkeypatch.setattr(predict, "hash_file", read)
    return names


def age(folder: Path) -> None:
    """As if the files had lain there for a day."""
    for path in folder.iterdir():
        day_before = time.time_ns() - 86400 * 10**9
        os.utime(path, ns=(day_before, day_before))


def test_a_second_look_reads_nothing_and_says_the_same(
    model: AestheticsNetwork, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(folder)
    store, read = tmp_path / "cache", hashed(monkeypatch)
    plain = open_album(model, folder)
    assert read == []
    first = open_album(model, folder, cache=store)
    assert sorted(read) == sorted(first.files) and first.cached == 0
    read.clear()
    second = open_album(model, folder, cache=store)
    assert read == [] and second.cached == COUNT
    assert numbers(plain) == numbers(first) == numbers(second), "bit by bit"
    assert [path.name for path in store.iterdir()] == [caches.FILE]


def test_what_changed_is_looked_at_again(
    model: AestheticsNetwork, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(folder)
    store = tmp_path / "cache"
    names = open_album(model, folder, cache=store).files
    read = hashed(monkeypatch)
    (folder / names[0]).rename(folder / "renamed.png")
    content = (folder / names[6]).read_bytes()
    (folder / names[3]).write_bytes(content)  # another picture under the old name
    album = open_album(model, folder, cache=store)
    assert sorted(read) == sorted(["renamed.png", names[3]]) and album.cached == COUNT, "known by what they hold"
    assert numbers(album) == numbers(open_album(model, folder))
    by_name = {result.name: result.score for result in album.results()}
    assert by_name[names[3]] == by_name[names[6]]


def test_a_file_that_was_just_written_is_not_trusted(model: AestheticsNetwork, folder: Path, tmp_path: Path) -> None:
    """Within a tick of the clock a file can change and keep its size and time."""
    store = tmp_path / "cache"
    paths = sorted(folder.iterdir())
    same = Image.new("RGB", (64, 64), (200, 40, 40))
    same.save(paths[0], "BMP")
    stamp = paths[0].stat().st_mtime_ns
    first = open_album(model, folder, cache=store).results()[0].score
    Image.new("RGB", (64, 64), (40, 40, 200)).save(paths[0], "BMP")
    os.utime(paths[0], ns=(stamp, stamp))
    assert open_album(model, folder, cache=store).results()[0].score != first


def test_other_weights_get_no_stale_features(lite: AestheticsNetwork, model: AestheticsNetwork) -> None:
    key = caches.key_of(lite)
    with torch.no_grad():
        taste(lite).crowd[0, 0] += 1
        assert caches.key_of(lite) == key, "what is learned from scores plays no part"
        bias = lite.image.head.norm.bias
        bias[0] += 1e-3
        other = caches.key_of(lite)
        bias[0] -= 1e-3
    config = lite.config
    lite.config = replace(config, size=96)
    smaller = caches.key_of(lite)
    lite.config = config
    assert len({key, other, smaller, caches.key_of(model)}) == 4


@pytest.mark.parametrize("damage", ["noise", "head", "cut", "rows", "format", "readonly"])
def test_a_damaged_cache_costs_nothing_but_time(
    model: AestheticsNetwork, folder: Path, tmp_path: Path, damage: str, recwarn: pytest.WarningsRecorder
) -> None:
    age(folder)
    store = tmp_path / "cache"
    right = numbers(open_album(model, folder, cache=store))
    file = store / caches.FILE
    content = bytearray(file.read_bytes())
    if damage == "noise":
        file.write_bytes(np.random.default_rng(0).bytes(5000))
    elif damage == "head":
        content[:64] = bytes(64)
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "rows":
        with sqlite3.connect(file) as base:
            base.execute(
                "UPDATE features SET data = CAST(substr(data, 1, 8) || x'00112233' || substr(data, 13) AS BLOB)"
            )
        base.close()
    elif damage == "format":
        with sqlite3.connect(file) as base:
            base.execute("PRAGMA user_version=99")
        base.close()
    else:
        shutil.rmtree(store)
        store.write_text("a file where the folder should be")
    again = open_album(model, folder, cache=store)
    assert numbers(again) == right
    told = [str(warning.message) for warning in recwarn]
    if damage in ("format", "readonly"):
        assert len(told) == 1 and "without a cache" in told[0]
    else:
        assert open_album(model, folder, cache=store).cached == COUNT, "built anew"
    if damage in ("noise", "head"):
        assert (store / f"{caches.FILE}.damaged").is_file() and "put aside" in told[0]


WRITER = """
import sys, torch
from pathlib import Path
import percepta
from percepta.systems.aesthetics.cache import Cache, FileVersion
model = percepta.load(sys.argv[1], device="cpu").model
cache = Cache(Path(sys.argv[2]), model)
print("ready", flush=True)
for turn in range(int(sys.argv[4])):
    row = torch.full((sum(model.sizes),), float(turn))
    names = [f"{sys.argv[3]} {turn} {i}" for i in range(9)]
    versions = [FileVersion(Path("/") / name, 1, 1, name.encode(), True) for name in names]
    cache.add([(version, row) for version in versions])
    print(turn, flush=True)
"""


def test_killing_a_writer_loses_nothing_that_was_kept(run: Path, model: AestheticsNetwork, tmp_path: Path) -> None:
    store = tmp_path / "cache"
    words = [sys.executable, "-c", WRITER, str(run), str(store)]
    with (
        subprocess.Popen([*words, "other", "30"], stdout=subprocess.DEVNULL) as stable,
        subprocess.Popen([*words, "doomed", "100000"], stdout=subprocess.PIPE, text=True) as doomed,
    ):
        assert doomed.stdout is not None
        for line in doomed.stdout:
            if line.strip() == "20":
                break
        doomed.send_signal(signal.SIGKILL)
        told = [int(line) for line in doomed.stdout.read().split()]
        assert stable.wait(60) == 0, "two at once, and one of them killed"
    with sqlite3.connect(store / caches.FILE) as base:
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = [row[0].decode() for row in base.execute("SELECT hash FROM features")]
    base.close()
    turns = {int(name.split()[1]) for name in kept if name.startswith("doomed")}
    assert turns >= set(range(max(told, default=20) + 1))
    assert all(sum(name.startswith(f"doomed {turn} ") for name in kept) == 9 for turn in turns), "whole turns only"
    assert sum(name.startswith("other") for name in kept) == 30 * 9
    with caches.Cache(store, model) as cache:
        row = cache.by_content(caches.FileVersion(Path("x"), 1, 1, b"other 7 3", True))
    assert row is not None and bool((row == 7).all())


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caches.default_folder() == tmp_path / "percepta"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says is to be ignored
    assert caches.default_folder() == Path.home() / ".cache" / "percepta"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert caches.default_folder() == Path.home() / ".cache" / "percepta"


# --------------------------------------------------------------------------------------------------- reasons


def test_a_reason_is_what_the_edit_does(model: AestheticsNetwork, folder: Path) -> None:
    """Every attribute's effect again: the edited picture is put into an album of its own and scored there."""
    album = open_album(model, folder, scale=Scale(0, 12))
    album.rate({name: 2 * score for name, score in stars(album.files, 3, 10).items()})
    seen = set()
    for name in album.files[:12]:
        image = squeeze_square(folder / name, model.config.size)
        for reason in album.why(name, 99):
            assert reason.kind == "attribute" and reason.linear_effect is None, "this encoder knows no words"
            edit = EDITS[reason.name]
            index = ATTRIBUTES.index(edit.attribute)
            average = float(model.mean[-len(ATTRIBUTES) :][index])
            edited = toward(image, edit, average)
            pair = open_album(model, [image, edited], scale=album.scale)
            pair._person = album._person
            with_it, without = (result.score for result in pair.results())
            crowd_with, crowd_without = (result.crowd for result in pair.results())
            assert reason.effect == pytest.approx(with_it - without, abs=5e-3)
            assert reason.crowd_effect == pytest.approx(crowd_with - crowd_without, abs=5e-3)
            assert reason.personal == pytest.approx(reason.effect - reason.crowd_effect)
            was, now = (float(attributes(i[None])[0, index]) for i in (image, edited))
            assert abs(now - average) < 0.51 * abs(was - average), "moved most of the way, or not told"
            assert reason.label == (edit.more if was > average else edit.less)
            seen.add(reason.name)
    assert len(seen) >= 4
    effects = [abs(reason.effect) for reason in album.why(album.files[0], 99)]
    assert effects == sorted(effects, reverse=True) and len(album.why(album.files[0], 2)) == 2


def test_people_who_like_opposites_have_opposite_reasons(model: AestheticsNetwork, tmp_path: Path) -> None:
    images, _ = world(48, 9)
    album = open_album(model, list(images[:80]), scale=Scale(1, 5))
    light = album._attributes[:, ATTRIBUTES.index("brightness")].numpy()
    lover = {name: float(1 + 4 * (value > np.median(light))) for name, value in zip(album.files, light, strict=True)}
    brightest = album.files[int(light.argmax())]
    effects = []
    for ratings in (lover, {name: 6 - score for name, score in lover.items()}):
        album.rate(ratings, replace=True)
        effects.append({reason.name: reason for reason in album.why(brightest, 99)}["brightness"])
    assert effects[0].label == effects[1].label == "bright"
    assert effects[0].effect > 0.1 > -0.1 > effects[1].effect
    assert effects[0].personal > 0 > effects[1].personal


def test_an_edit_that_cannot_do_it_gives_no_reason(model: AestheticsNetwork) -> None:
    """A grey picture has no colour that could be strengthened: nothing is said about its colours."""
    grey = torch.rand(1, 48, 48, generator=torch.Generator().manual_seed(1)).expand(3, -1, -1)
    edited = toward(grey, EDITS["colourfulness"], 0.3)
    assert float(attributes(edited[None])[0, ATTRIBUTES.index("colourfulness")]) < 0.01
    person = model.head.person(None, torch.zeros(0, model.width), torch.zeros(0, 8), torch.zeros(0))
    assert "colourfulness" not in {reason.name for reason in reasons(model, grey, person, person, count=99)}


@pytest.mark.parametrize("name", EDITS)
def test_edits_do_nothing_at_zero_and_stay_in_range(name: str) -> None:
    edit = EDITS[name]
    images = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(edit.apply(images, torch.zeros(2)), images.clamp_min(1e-4), atol=2e-3, rtol=0)
    index, found = ATTRIBUTES.index(edit.attribute), []
    smooth = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
    for strength in (edit.reach[0], 0.0, edit.reach[1]):
        edited = edit.apply(smooth, torch.full((2,), strength))
        assert float(edited.min()) >= 0 and float(edited.max()) <= 1
        found.append(float(attributes(edited)[0, index]))
    if name != "composition":  # where its detail goes depends on the picture
        assert found[0] < found[1] < found[2], "more strength, more of it"


def test_detail_is_brought_to_the_middle() -> None:
    image = torch.full((3, 64, 64), 0.5)
    image[:, 24:40, 6:22] = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    index = ATTRIBUTES.index("centring")
    was = float(attributes(image[None])[0, index])
    now = float(attributes(toward(image, EDITS["composition"], 1.0)[None])[0, index])
    assert was < 0.45 and now > 0.8


def photographs() -> list[Path]:
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-image is not installed: its pictures are what the words are tried on")
    found = Path(spec.submodule_search_locations[0]) / "data"
    names = (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
        "motorcycle_left.png",
        "camera.png",
        "coins.png",
    )
    return [found / name for name in names if (found / name).is_file()]


def test_words_that_are_asserted_hold_when_they_are_taken_out(lite: AestheticsNetwork) -> None:
    """Over many pictures: what is read off the linear part agrees with scoring again without the class."""
    images = torch.stack([squeeze_square(path, lite.config.size) for path in photographs()])
    images = torch.cat([images, images.flip(3), images[..., 30:190, 30:190].repeat_interleave(2, 2)[..., :224, :160]
                        .repeat_interleave(2, 3)[..., :224]])  # fmt: skip
    with torch.no_grad():
        features = lite.features(images)
        person = lite.head.person(
            None, lite.normalise(features[:4]), lite.attributes(features[:4]), torch.tensor([1.0, 6, 2, 7])
        )
        nobody = lite.head.person(None, lite.normalise(features[:0]), lite.attributes(features[:0]), torch.zeros(0))
        told = [by_content(lite, row, person, nobody) for row in features]
    found = [reason for part in told for reason in part]
    assert len(found) > 0.6 * 12 * len(images), "few words are lost"
    asserted, tried = (np.array([getattr(r, name) for r in found]) for name in ("linear_effect", "effect"))
    assert (asserted * tried > 0).all()
    assert np.corrcoef(asserted, tried)[0, 1] > 0.9
    assert {"chelsea.png"} <= {path.name for path in photographs()} and any("cat" in r.label.lower() for r in told[1])


def test_taking_a_class_out_is_what_it_says(lite: AestheticsNetwork) -> None:
    """Oracle: the concepts built anew from the probabilities with one class set to zero; shares sum to the whole."""
    image = squeeze_square(photographs()[0], lite.config.size)
    with torch.no_grad():
        base = lite.features(image[None])[0]
        probability = lite.class_probabilities(base[None])[0]
        chosen = probability.topk(5).indices
        without, _ = taken_out(lite, base, probability, chosen)
        everything = torch.arange(1000)
        _, less = taken_out(lite, base, probability, everything)
    part = slice(len(base) - 8 - 384, len(base) - 8)
    for row, index in zip(without, chosen.tolist(), strict=True):
        p = probability.double().clone()
        p[index] = 0
        rebuilt = (p / p.sum()) @ lite.concepts.vectors.double()
        torch.testing.assert_close(row[part].double(), rebuilt, atol=1e-5, rtol=0)
        kept = torch.ones(len(base), dtype=torch.bool)
        kept[part] = False
        assert torch.equal(row[kept], base[kept])
    shares = ((base - less) / 0.1).double().sum(0)
    torch.testing.assert_close(shares[part], (base - lite.mean)[part].double(), atol=1e-4, rtol=0)


# --------------------------------------------------------------------------------------- what can go wrong


def test_bad_pictures_are_listed_and_skipped(model: AestheticsNetwork, folder: Path) -> None:
    right = dict(zip(open_album(model, folder).files, numbers(open_album(model, folder)), strict=True))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    whole = (folder / "夏 01.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("not looked at")
    before = fingerprint(folder)
    album = open_album(model, folder)
    assert {name for name, _ in album.skipped} == {"empty.jpg", "text.png", "cut.jpg"}
    reasons_told = dict(album.skipped)
    assert "empty" in reasons_told["empty.jpg"] and "truncated" in reasons_told["cut.jpg"]
    assert not any(str(folder) in reason for reason in reasons_told.values()), "the name is enough"
    for name, found in zip(album.files, numbers(album), strict=True):
        assert found == pytest.approx(right[name], abs=1e-4)
    album.rate({"empty.jpg": 3, album.files[0]: 1, album.files[1]: 5})
    assert album.note == "" and album.ratings["empty.jpg"] == 3
    with pytest.raises(ValueError, match="at least 2 different scores"):
        open_album(model, folder, ratings={"empty.jpg": 3, "cut.jpg": 4, album.files[0]: 1})
    assert fingerprint(folder) == before


def test_an_album_needs_a_picture(model: AestheticsNetwork, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_album(model, tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no pictures"):
        open_album(model, tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of 1 pictures can be read; a\.jpg: .*empty"):
        open_album(model, tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        open_album(model, [])
    with pytest.raises(TypeError, match=r"aesthetics\.task\.build"):
        open_album(torch.nn.Linear(1, 1), tmp_path)
    with pytest.raises(ValueError, match="worked out in float32, and this model is bfloat16"):
        open_album(copy.deepcopy(model).bfloat16(), tmp_path)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ({"夏 99.jpg": 3, "夏 01.jpg": 1}, "'夏 99.jpg', which is no picture .*did you mean"),
        ({"夏 00.png": 3, "夏 01.jpg": 9}, "夏 01.jpg: a score is a number from 1 to 5 in steps of 0.5, not 9"),
        ({"夏 00.png": 3, "夏 01.jpg": 2.3}, "steps of 0.5, not 2.3"),
        ({"夏 00.png": "good", "夏 01.jpg": 2}, "not 'good'"),
        ({"夏 00.png": "3", "夏 01.jpg": 2}, "not '3'"),
        ({"夏 00.png": float("nan"), "夏 01.jpg": 2}, "not nan"),
        ({"夏 00.png": True, "夏 01.jpg": 2}, "not True"),
        ({"夏 00.png": 3, "夏 01.jpg": 3}, "at least 2 different scores to learn from, got 2 rating.s., all 3"),
        ({}, "at least 2 different scores to learn from, got no ratings"),
        ("file,score\n夏 00.png,3\nbeach.jpg,4\n", r"ratings.csv, line 3: no picture 'beach.jpg'"),
        ("file,score\n夏 00.png,3\n夏 01.jpg,very good\n", r"line 3: a score is a number .*'very good'"),
        ("file,score\n夏 00.png,3\n夏 01.jpg,3\n", "at least 2 different scores"),
        ("name,stars\n夏 00.png,3\n", "no column file, score"),
    ],
)
def test_bad_ratings_say_so(
    model: AestheticsNetwork, folder: Path, tmp_path: Path, ratings: dict | str, message: str
) -> None:
    if isinstance(ratings, str):
        path = tmp_path / "ratings.csv"
        path.write_text(ratings, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            open_album(model, folder, ratings=path)
        return
    with pytest.raises(ValueError, match=message):
        open_album(model, folder, ratings=ratings)
    if "different" not in message:
        album = open_album(model, folder, ratings={"夏 02.webp": 1, "夏 03.png": 5})
        before = numbers(album), album.ratings
        with pytest.raises(ValueError, match=message):
            album.rate(ratings)
        assert (numbers(album), album.ratings) == before, "nothing was changed"


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"hat": 3}, "no field 'hat' in a profile; it may hold age, gender"),
        ({"age": 300}, "age: expected a number from 18 to 80, got 300"),
        ({"gender": "f"}, "gender: expected one of male, female, other, got 'f'"),
    ],
)
def test_bad_profiles_say_so(
    model: AestheticsNetwork, folder: Path, tmp_path: Path, profile: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_album(model, folder, profile=profile)
    path = tmp_path / "me.json"
    path.write_text(json.dumps(profile))
    with pytest.raises(ValueError, match=rf"me\.json.*{message.split()[-1]}"):
        open_album(model, folder, profile=path)
    assert open_album(model, folder, profile={"age": None, "gender": "Female"}).profile == {"gender": "Female"}


def test_pictures_of_several_folders(model: AestheticsNetwork, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    name = "夏 00.png"
    album = open_album(model, [folder / name, other / name, str(other / "夏 01.jpg"), Image.new("RGB", (40, 30))])
    assert album.files == (str(folder / name), str(other / name), "夏 01.jpg", "picture 4")
    assert album.scale == STARS, "one picture has one scale, however it is asked about"
    with pytest.raises(ValueError, match="comes twice"):
        open_album(model, [folder / name, folder / name])
    with pytest.raises(ValueError, match=r"no picture 'x' in the album"):
        album.why("x")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names")
def test_a_name_that_is_no_text_is_skipped(model: AestheticsNetwork, folder: Path) -> None:
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.png"), "wb") as file:  # noqa: PTH118, PTH123
        file.write((folder / "夏 00.png").read_bytes())
    album = open_album(model, folder)
    assert len(album.files) == COUNT and [reason for _, reason in album.skipped] == [
        "the name is not valid Unicode text; rename the file"
    ]
    album.save(folder.parent / "out")


# ---------------------------------------------------------------------------------------- results and pages


def test_results_are_drawn_and_saved(model: AestheticsNetwork, folder: Path, tmp_path: Path) -> None:
    album = open_album(model, folder)
    first = album.ranking()[0]
    assert first.score == max(result.score for result in album.results())
    drawn = first.draw()
    assert drawn.width >= 160 and drawn.height > first.picture.shape[0]
    outside = replace(first, score=9.0, deviation=float("nan"), crowd=-3.0)
    assert outside.draw().size == drawn.size and outside.text == "9.0"
    first.save(tmp_path / "a" / "best.png")
    outside.save(tmp_path / "a" / "none")
    assert len(first.weights) == 16, "the answer names the weights that gave it"
    assert json.loads((tmp_path / "a" / "best.json").read_text()) == {
        "name": first.name, "score": first.score, "deviation": first.deviation, "crowd": first.crowd,
        "low": 1, "high": 5, "weights": first.weights,
    }  # fmt: skip
    assert json.loads((tmp_path / "a" / "none.json").read_text())["deviation"] is None
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"best.png", "best.json", "none.png", "none.json"}
    large = open_album(model, [Image.new("RGB", (1600, 900))]).results()[0]
    assert large.picture.shape == (270, 480, 3)


def test_the_table_and_the_page(model: AestheticsNetwork, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "夏 00.png", folder / 'say "hi", 写.png')
    (folder / "empty.jpg").write_bytes(b"")
    album = open_album(model, folder)
    album.rate(stars(album.files, 8, 6))
    path = album.save(tmp_path / "out")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [result.name for result in album.ranking()]
    assert [int(row["rank"]) for row in rows] == list(range(1, COUNT + 2))
    assert {row["file"]: float(row["rated"]) for row in rows if row["rated"]} == album.ratings
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and all(float(row["deviation"]) > 0 for row in rows)
    html = report.Page("x", album_blocks(album, ask=4, why=2)).html()
    for words in ("Rate these next", "Why", "All pictures", "Skipped", "empty.jpg", "say &quot;hi&quot;, 写.png"):
        assert words in html
    assert html.count("<img") == 4 + 4 + COUNT + 1
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["ranking.csv"]


def test_a_large_page_shows_both_ends(model: AestheticsNetwork, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SHOWN", (3, 2))
    html = report.Page("x", album_blocks(open_album(model, folder), ask=0, why=0)).html()
    assert html.count("<img") == 5 and f"all {COUNT}" in html


# ----------------------------------------------------------------------------------------------- the shell


@pytest.fixture
def shell(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """`percepta predict aesthetics` with the tiny weights: (exit code, what was printed)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))

    def run_predict(*words: str) -> tuple[int, str]:
        screen = Console(width=400, record=True, file=io.StringIO())
        given = [*words, "--weights", str(run), "--out", str(tmp_path / "out")]
        code = commands.predict(parse(commands.Predict, given, "percepta predict aesthetics"), screen)
        return code, screen.export_text()

    return run_predict


def test_predict_ranks_an_album(
    shell: Callable[..., tuple[int, str]], folder: Path, tmp_path: Path, answers_of: Callable[[Path, str], Any]
) -> None:
    age(folder)
    names = sorted(path.name for path in folder.iterdir())
    mine = tmp_path / "mine.csv"
    mine.write_text(f"file,score\n{names[0]},1\n{names[5]},5\n", encoding="utf-8")
    before = fingerprint(folder)
    code, text = shell(str(folder), "--ratings", str(mine), "--ask", "3", "--why", "1")
    assert code == 0 and f"{COUNT} pictures, 2 rated, scores from 1 to 5" in text and "rate next: " in text
    assert len(text.split("rate next: ")[1].splitlines()[0].split(", ")) == 3
    assert (tmp_path / "home" / "percepta" / caches.FILE).is_file()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ranking.csv", "report.html", "predictions.json"}
    assert {row["name"] for row in answers_of(tmp_path / "out", "aesthetics")} == set(names)
    assert fingerprint(folder) == before
    best = next(csv.DictReader((tmp_path / "out" / "ranking.csv").read_text(encoding="utf-8").splitlines()))["file"]
    assert text.index(best) < text.index("   ...")
    _, again = shell(str(folder), "--ratings", str(mine))
    assert f"({COUNT} of them kept from before)" in again
    _, without = shell(str(folder), "--ratings", str(mine), "--no-cache")
    assert "kept" not in without
    _, other = shell(str(folder), "--ratings", str(mine), "--cache", str(tmp_path / "elsewhere"))
    assert "kept" not in other and (tmp_path / "elsewhere" / caches.FILE).is_file()


def test_predict_takes_what_lies_in_the_album(shell: Callable[..., tuple[int, str]], folder: Path) -> None:
    (folder / "ratings.csv").write_text("file,score\n夏 00.png,0\n夏 01.jpg,10\n", encoding="utf-8")
    (folder / "profile.json").write_text('{"age": 44}')
    (folder / "empty.jpg").write_bytes(b"")
    before = fingerprint(folder)
    code, text = shell(str(folder), "--scale", "0", "10", "--no-cache", "--why", "0")
    assert code == 1, "a picture was skipped"
    assert "ratings: " in text and "profile: " in text and "2 rated, scores from 0 to 10" in text
    assert "skipped empty.jpg: " in text and f"1 of {COUNT + 1} pictures were skipped" in text
    assert fingerprint(folder) == before


def test_predict_takes_a_single_picture(shell: Callable[..., tuple[int, str]], folder: Path) -> None:
    code, text = shell(str(folder / "夏 00.png"), "--no-cache")
    assert code == 0 and "1 pictures, 0 rated" in text and "夏 00.png" in text


def test_predict_refuses(shell: Callable[..., tuple[int, str]], folder: Path, tmp_path: Path) -> None:
    for words, message in (
        (["--scale", "5"], "LOW HIGH"),
        (["--scale", "5", "1"], "from a low to a high"),
        (["--cache", "x", "--no-cache"], "exclude"),
        (["--starz"], "unknown option"),
    ):
        with pytest.raises(UsageError, match=message):
            shell(str(folder), *words)
    with pytest.raises(FileNotFoundError, match="no such folder or picture"):
        shell(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        shell(str(folder), "--ratings", str(tmp_path / "nothing.csv"))
    assert not (tmp_path / "out").exists(), "nothing half-written"


def test_clicks_rank_from_the_first_on(model: AestheticsNetwork, folder: Path) -> None:
    pytest.importorskip("fastapi", reason="the page needs fastapi: pip install 'percepta[web]'")
    (folder / "empty.jpg").write_bytes(b"")
    rank = commands.ranker(open_album(model, folder))
    start = rank({})
    assert len(start.order) == COUNT and len(start.ask) == commands.PROPOSED
    one = rank({"夏 00.png": 5.0, "came later.jpg": 1.0})
    assert [r.score for r in one.order] == [r.score for r in start.order] and "夏 00.png" not in one.ask
    two = rank({"夏 00.png": 5.0, "夏 01.jpg": 1.0, "empty.jpg": 2.0})
    assert [r.score for r in two.order] != [r.score for r in start.order]
    assert [r.score for r in rank({}).order] == [r.score for r in start.order], "taken back"


def fetch(request: urllib.request.Request) -> dict:
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_rate_serves_the_album(run: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the page needs fastapi: pip install 'percepta[web]'")
    code = "import sys\nfrom percepta.__main__ import main\nsys.exit(main(['rate', *sys.argv[1:]]))"
    words = [str(folder), "--weights", str(run), "--port", "0", "--no-browser", "--cache", str(tmp_path / "cache")]
    started = subprocess.Popen([sys.executable, "-u", "-c", code, *words], stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(90, started.kill)
    timer.start()
    with started as server:
        assert server.stdout is not None
        url = next(line for line in server.stdout if line.startswith("http")).split()[0]
        for name, score in (("夏 00.png", 5), ("夏 01.jpg", 1.5)):
            body = json.dumps({"file": name, "score": score}).encode()
            request = urllib.request.Request(f"{url}api/rate", body, {"Content-Type": "application/json"})
            assert fetch(request)["score"] == score
        state = {}
        while not state.get("order") or state["busy"] or state["version"] != 2:
            state = fetch(urllib.request.Request(f"{url}api/ranking"))
            time.sleep(0.05)
        assert state["error"] == "" and len(state["order"]) == COUNT and len(state["ask"]) == commands.PROPOSED
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        timer.cancel()
    assert read_ratings(folder / "ratings.csv", None, STARS) == {"夏 00.png": 5, "夏 01.jpg": 1.5}


# ----------------------------------------------------------------------------------------------- what ships


@pytest.fixture(scope="module")
def shipped() -> Aesthetics:
    return percepta.load("aesthetics", device="cpu")


def test_the_system_can_be_pickled_and_names_its_weights(shipped: Aesthetics) -> None:
    image = Image.new("RGB", (80, 60), (90, 120, 200))
    one, other = (system.predict(image) for system in (shipped, pickle.loads(pickle.dumps(shipped))))
    assert (one.score, one.deviation, one.weights) == (other.score, other.deviation, other.weights)
    assert one.weights == shipped.model.weights_hash != ""
