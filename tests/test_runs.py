"""Run folders: what a run stands on is compared before it goes on, and a damaged state says so."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import fake_system
from percepta import checkpoint
from percepta.errors import InputError
from percepta.runs import standing_on
from percepta.train import train


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fake_system.install(tmp_path / "assets", monkeypatch.setitem, monkeypatch.setattr)


def run(out: Path, steps: int = 4, **options: Any) -> Path:
    config = fake_system.Config()
    config = replace(config, train=replace(config.train, steps=steps, checkpoint_every=2))
    return train("fake", config, out=out, device="cpu", **options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for name in ("cat/1.png", "dog/1.png", "labels.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
        os.utime(root / name, ns=(10**9 * len(name), 10**9 * len(name)))
    os.utime(root / "dog" / "1.png", ns=(7 * 10**9, 7 * 10**9))
    return root


def swap(root: Path) -> None:
    """What mending labels is: the folders change places."""
    (root / "cat").rename(root / "t")
    (root / "dog").rename(root / "cat")
    (root / "t").rename(root / "dog")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swap, r"2 files changed \(cat/1\.png, \.\.\.\)"),
        (lambda r: (r / "cat" / "2.png").touch(), r"1 file new \(cat/2\.png\)"),
        (lambda r: (r / "cat" / "1.png").unlink(), r"1 file gone \(cat/1\.png\)"),
        (lambda r: os.utime(r / "cat" / "1.png"), r"1 file changed"),
        (lambda r: (r / "labels.csv").write_text("labels.csw"), r"1 file changed \(labels\.csv\)"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(
    tmp_path: Path, task: ModuleType, data: Path, change: Callable[[Path], object], says: str
) -> None:
    before = run(tmp_path / "run", root=data).read_bytes()
    run(tmp_path / "run", root=data)  # nothing changed: finished already
    change(data)
    with pytest.raises(InputError, match=rf"run is finished already, and the data changed: {says}.*--no-resume"):
        run(tmp_path / "run", root=data)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    run(tmp_path / "run", root=data, resume=False)
    run(tmp_path / "run", root=data)


def test_a_table_that_was_only_touched_is_the_same(tmp_path: Path, task: ModuleType, data: Path) -> None:
    run(tmp_path / "run", root=data)
    os.utime(data / "labels.csv")
    (data / ".DS_Store").touch()
    run(tmp_path / "run", root=data)


def test_the_run_folder_is_no_data(tmp_path: Path, task: ModuleType, data: Path) -> None:
    run(data / "runs", root=data)
    run(data / "runs", root=data)
    files = json.loads((data / "runs" / "data.json").read_text())["files"]
    assert set(files) == {"cat/1.png", "dog/1.png", "labels.csv"} and files["cat/1.png"][2] == ""


def test_a_folder_that_links_to_itself_has_an_end(tmp_path: Path, data: Path) -> None:
    (data / "cat" / "again").symlink_to(data)
    assert len(standing_on(data, tmp_path / "out", "")["files"]) == 3
    assert list(standing_on(data / "labels.csv", tmp_path / "out", "")["files"]) == ["labels.csv"]
    assert standing_on(None, tmp_path / "out", "") == {"files": {}, "start": ""}


def test_a_run_without_data_json_goes_on_as_before(tmp_path: Path, task: ModuleType, data: Path) -> None:
    run(tmp_path / "run", root=data)
    (tmp_path / "run" / "data.json").unlink()
    swap(data)
    run(tmp_path / "run", root=data)


def test_a_run_does_not_go_on_from_other_weights(tmp_path: Path, task: ModuleType) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        torch.manual_seed(seed)
        config = fake_system.Config()
        checkpoint.save(tmp_path / name, task.build(config), system="fake", preset="tiny", config=config)
    run(tmp_path / "run", start=tmp_path / "a")
    run(tmp_path / "run", start=tmp_path / "a")
    run(tmp_path / "run")  # who does not say it means the same
    with pytest.raises(InputError, match="started from other weights: --no-resume"):
        run(tmp_path / "run", start=tmp_path / "b")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_state_that_was_cut_off_says_so(tmp_path: Path, task: ModuleType, keep: float) -> None:
    run(tmp_path / "run")
    last = tmp_path / "run" / "last.pt"
    whole = last.read_bytes()
    last.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    with pytest.raises(InputError, match=r"last\.pt: is cut off or damaged.*--no-resume"):
        run(tmp_path / "run")
    torch.save([1], last)
    with pytest.raises(InputError, match=r"last\.pt: no state of a training"):
        run(tmp_path / "run")
    run(tmp_path / "run", resume=False)


def test_a_log_that_is_none_is_named(tmp_path: Path, task: ModuleType) -> None:
    run(tmp_path / "run")
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write("[]\n")
    with pytest.raises(InputError, match=r"log\.jsonl: the step of a line"):
        run(tmp_path / "run")


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path, task: ModuleType) -> None:
    run(tmp_path / "run")
    (tmp_path / "run" / ".last.pt.77-88.tmp").write_bytes(b"half")
    run(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_a_full_disk_names_the_file(tmp_path: Path, task: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*run/config\.json"):
        run(tmp_path / "run")
