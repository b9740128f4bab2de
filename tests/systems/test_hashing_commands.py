"""`percepta index` from the shell, with an untrained model of the synthetic world."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import percepta
from percepta import checkpoint, contract
from percepta.__main__ import main
from percepta.checkpoint import weights_hash
from percepta.media import video
from percepta.systems.hashing import PRESETS, commands, task
from percepta.systems.hashing.encode import ModelEncoder, single_threaded, write_graph
from percepta.systems.hashing.model import Hasher


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = PRESETS["tiny"]
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    return checkpoint.save(path, task.build(config), system="hashing", preset="tiny", config=config)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / f"{number}.png")
    shot = [np.kron(rng.integers(0, 256, (4, 6, 3)), np.ones((12, 12, 1))).astype(np.uint8) for _ in range(2)]
    video.write(folder / "clip.mp4", [frame for frame in shot for _ in range(10)], 10)
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main(["index", *map(str, words)])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_the_whole_way(films: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, model = ("--index", tmp_path / "index"), ("--weights", weights)
    code, text = run(capsys, "add", films, *where, *model, "--threads", 2)
    assert code == 0 and "4 encoded" in text and "7 new moments" in text, text
    code, text = run(capsys, "add", films, *where, *model)
    assert code == 0 and "0 new moments" in text
    code, text = run(capsys, "search", "--like", films / "1.png", "--json", "--top", 2, *where, *model)
    rows = json.loads(text)
    assert code == 0 and len(rows) == 2 and rows[0]["path"] == str(films / "1.png") and rows[0]["distance"] == 0
    page = tmp_path / "out" / "page.html"
    code, text = run(capsys, "search", "a red patch", "--html", page, *where, *model)
    assert code == 0 and "start_s" in text and "score" in text
    html = page.read_text()
    assert html.count("<figure>") == html.count("data:image/jpeg;base64,") >= 4
    assert re.search(r'<video [^>]*src="file:///[^"]*clip\.mp4#t=[\d.]+,[\d.]+"', html)
    assert not re.search(r'(src|href)="https?:', html)  # nothing comes from elsewhere
    code, text = run(capsys, "search", "x", "--after", "2200-01-01", *where, *model)
    assert code == 1
    code, text = run(capsys, "search", "x", "--folder", films / "none", *where, *model)
    assert code == 1

    (films / "0.png").unlink()
    (films / "broken.mp4").write_text("no film")
    code, text = run(capsys, "update", *where, *model)
    assert code == 1 and "1 taken out" in text and "not a video" in text
    code, text = run(capsys, "remove", films / "clip.mp4", *where)
    assert code == 0 and "1 file taken out" in text
    code, text = run(capsys, "info", *where)
    assert code == 0 and "2" in text and str(films) in text.replace("\n", "")
    assert weights_hash(weights) in text
    code, text = run(capsys, "verify", *where)
    assert code == 0 and "intact" in text.replace("\n", " ")

    codes = next((tmp_path / "index").glob("*/codes.npy"))
    codes.write_bytes(codes.read_bytes()[:-1] + b"?")
    for words in (("verify",), ("search", "x", *model)):
        code, text = run(capsys, *words, *where)
        assert code == 2 and "percepta index rebuild" in text
    (films / "broken.mp4").unlink()
    code, text = run(capsys, "rebuild", *where, *model)
    assert code == 0 and "3 encoded" in text, text
    assert run(capsys, "verify", *where)[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["films", "index", "out"]


def test_another_models_index_is_refused(
    films: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--index", tmp_path / "index")
    run(capsys, "add", films, *where, "--weights", weights)
    torch.manual_seed(1)
    config = PRESETS["tiny"]
    other = checkpoint.save(
        tmp_path / "o.safetensors", task.build(config), system="hashing", preset="tiny", config=config
    )
    for words in (("search", "x"), ("add", films), ("update",)):
        code, text = run(capsys, *words, *where, "--weights", other)
        assert code == 2 and "come from the model" in text, text
    code, text = run(capsys, "rebuild", *where, "--weights", other)
    assert code == 0
    assert run(capsys, "search", "x", *where, "--weights", other)[0] == 0


def test_what_is_typed_wrong_is_told(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--index", tmp_path / "index")
    for words, said in (
        ((), "usage: percepta index VERB"),
        (("serch", "x"), "Did you mean search?"),
        (("add", *where), "which folder?"),
        (("add", tmp_path / "none", *where), "no such file or folder"),
        (("search", *where), "--like"),
        (("search", "x", "--like", "y", *where), "--like"),
        (("search", "x", *where), "no index here"),
        (("search", "x", "--after", "yesterday", *where), "2024-05-31"),
        (("search", "x", "--top", "0", *where), "1 or more"),
        (("search", " ", *where), "the sentence is empty"),
        (("search", "x", "--after", "2024-05-31", "--before", "2024-05-30", *where), "does not lie before"),
        (("update", *where), "no index here"),
        (("remove", "x", *where), "no index here"),
        (("add", films, "--every-s", "0", *where), "above 0"),
        (("add", films, "--colour", "red", *where), "unknown option '--colour'"),
    ):
        code, text = run(capsys, *words)
        assert code == 2 and said in text, (words, text)
    assert run(capsys, "--help")[0] == 0
    assert not (tmp_path / "index").exists()


def test_a_missing_drive_is_not_forgotten(
    films: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--index", tmp_path / "index")
    run(capsys, "add", films, *where, "--weights", weights)
    shutil.move(films, tmp_path / "unplugged")
    code, text = run(capsys, "update", *where, "--weights", weights)
    assert code == 0 and "is not there" in text
    code, text = run(capsys, "info", *where)
    assert "7 of 32 bits" in text


def test_what_was_taken_out_comes_back_only_where_that_was_said(
    films: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--index", tmp_path / "index")
    run(capsys, "add", films, *where, "--weights", weights)
    code, text = run(capsys, "remove", films / "1.png", *where)
    assert code == 0 and f"{films} stays in the index" in text and "takes in again" in text
    code, text = run(capsys, "update", *where, "--weights", weights)
    assert code == 0 and "1 encoded" in text
    code, text = run(capsys, "remove", films, *where)
    assert code == 0 and "4 files taken out" in text and "stays" not in text


def test_files_that_cannot_be_read_leave_no_empty_index(
    films: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (broken := tmp_path / "broken.jpg").write_bytes(b"no picture")
    where = ("--index", tmp_path / "index", "--weights", weights)
    code, text = run(capsys, "add", broken, *where)
    assert code == 1 and "no index was made" in text and "broken.jpg" in text and not (tmp_path / "index").exists()
    run(capsys, "add", films, *where)
    code, text = run(capsys, "add", broken, *where)
    assert code == 1 and "no index was made" not in text and (tmp_path / "index").exists()


def test_a_code_does_not_depend_on_what_is_encoded_beside_it() -> None:
    torch.manual_seed(0)
    encoder = ModelEncoder(Hasher(PRESETS["tiny"]))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, encoder.side, encoder.side, 3), np.uint8)
    with single_threaded():
        vectors = np.concatenate([encoder.pictures(one[None]) for one in pixels])
        alone = np.concatenate([encoder.codes(one[None]) for one in vectors])
        np.testing.assert_array_equal(encoder.codes(vectors), alone)
    assert alone.shape == (5, 4)


def test_graphs_see_what_torch_sees(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="graphs need the extra: pip install 'percepta[export]'")
    model = percepta.load("hashing", device="cpu").model
    assert isinstance(model, Hasher)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 3)).repeat(model.side // 8, 1).repeat(model.side // 8, 2)
    pixels = coarse.astype(np.uint8)
    torch_encoder = ModelEncoder(model)
    expected = torch_encoder.pictures(pixels)
    names = {torch_encoder.fingerprint()}
    for kind, least in (("onnx", 0.9999), ("int8", 0.8)):
        graph = write_graph(model, tmp_path / f"{kind}.onnx", pixels if kind == "int8" else None)
        encoder = ModelEncoder(model, graph)
        found = np.concatenate([encoder.pictures(pixels[:3]), encoder.pictures(pixels[3:])])
        assert ((found * expected).sum(1) > least).all(), kind
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        names.add(encoder.fingerprint())
    assert len(names) == 3  # codes of one kind are not compared with another's
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8.onnx", "onnx.onnx"]
    with pytest.raises(FileNotFoundError, match="the index was made with it"):
        ModelEncoder(model, tmp_path / "gone.onnx")


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert commands.folder_of(None) == tmp_path / "percepta" / "index"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert commands.folder_of(None) == tmp_path / ".local" / "share" / "percepta" / "index"


def test_what_ships_says_when_nothing_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(percepta.sample("cat").parent, tmp_path / "photos")
    where = ("--index", tmp_path / "index")
    assert run(capsys, "add", tmp_path / "photos", *where)[0] == 0
    code, text = run(capsys, "search", "a cat", *where)
    assert code == 0 and "nothing fits" not in text
    code, text = run(capsys, "search", "my passport", *where)
    assert code == 1 and "nothing fits: the best score is 0." in text
    code, text = run(capsys, "search", "my passport", "--json", *where)
    assert code == 1 and not any(row["fits"] for row in json.loads(text))
    code, text = run(capsys, "search", "--like", percepta.sample("cat"), "--json", *where)
    assert code == 0 and "fits" not in json.loads(text)[0]  # of pictures it is not known


def test_the_level_is_what_was_measured_with_what_ships() -> None:
    system = percepta.load("hashing")
    assert contract.weights_hash(system.model) == commands.CALIBRATED
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    if not folder.is_dir():
        pytest.skip("installed without its repository")
    found = json.loads((folder / "hashing-nothing.json").read_text())
    assert found["weights"] == commands.CALIBRATED
    assert round(found["values"]["level"]["value"], 3) == commands.NOTHING_FITS
