"""The command line: help, errors in one line, exit codes, and what each command writes.

A made-up system stands in where the command itself is tested; the contract's walk runs the real ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
import torch
import tyro
from PIL import Image
from rich.console import Console
from torch import nn

import percepta
from percepta import __main__ as cli
from percepta import card as cards
from percepta import report, shell
from percepta.config import TrainConfig
from percepta.contract import Evaluation, Loader
from percepta.errors import InputError, MissingFileError
from percepta.media.source import answers
from percepta.metrics import Metric
from percepta.systems import SHORT, TABLE
from percepta.train import Evaluator

SYSTEM = "blobs"


@dataclass(frozen=True)
class Config:
    """Settings of the made-up system."""

    width: int = 3
    """How wide."""
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class Result:
    """Finds words in pictures: the mean colour."""

    picture: Image.Image
    words: str
    score: float

    def draw(self) -> Image.Image:
        return self.picture

    @property
    def text(self) -> str:
        return f"{self.words} {self.score:.0%}"

    def to_dict(self) -> dict[str, Any]:
        return {"sentence": self.words, "score": self.score, "found": True, "box": (1, 2, 3, 4)}

    def save(self, path: Path) -> Path:
        self.picture.convert("L").save(path)
        return path


class Samples:
    """Five numbers."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, key: tuple[int, int]) -> float:
        return float(key[1])

    def collate(self, samples: list[float]) -> dict[str, Any]:
        return {"x": torch.tensor(samples)}


@dataclass(frozen=True)
class Blobs:
    config: Config
    model: nn.Module
    licence: str
    evaluate: Any
    open_stream: Any
    name: ClassVar[str] = SYSTEM

    def predict(self, source: Path, words: list[str] | None = None) -> Any:
        try:
            picture = Image.open(source).convert("RGB")
        except OSError as error:
            raise InputError(f"{source}: no picture") from error
        results = [Result(picture, word, 0.5) for word in words or [""]]
        return results if words is not None and len(words) != 1 else results[0]


def evaluate(model: nn.Module, loader: Loader, *, examples: int = 0) -> Evaluation:
    values = np.concatenate([batch["x"].numpy() for batch in loader])
    metric = Metric(float(values.mean()), 1.0, 3.0, len(values), baselines={"zero": 0.0})
    return Evaluation({"mean": metric}, [report.Text("the blobs were looked at")] if examples else [])


@dataclass(frozen=True)
class Count:
    """Counts blobs."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Where they are."""
    twice: bool = False
    """Count them twice."""


def count(options: Count, screen: Console) -> int:
    screen.print(f"counted {options.folder} {1 + options.twice} times")
    return 0


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Puts the made-up system into the table; its files lie in a folder of the test."""
    module = ModuleType(f"percepta.systems.{SYSTEM}")
    module.__file__ = str(tmp_path / SYSTEM / "__init__.py")
    module.Config, module.PRESETS = Config, {"small": Config(), "wide": Config(width=9)}  # type: ignore[attr-defined]
    task = ModuleType(f"percepta.systems.{SYSTEM}.task")
    task.__dict__.update(
        EXPORTS={"all": "there is nothing to export"},
        PRETRAINED={},
        build=lambda config: nn.Linear(config.width, 2),
        data=lambda config, split, root=None: Samples(),
        System=Blobs,
        evaluate=evaluate,
        loss=lambda model, batch, step: {},
    )
    check = ModuleType(f"percepta.systems.{SYSTEM}.check")

    def look(folder: Path, progress: Any) -> SimpleNamespace:
        if not folder.is_dir():
            raise MissingFileError(f"{folder}: no such folder")
        problems = [f"{path}:1: empty" for path in sorted(folder.glob("*.csv"))]
        sheet = Image.new("RGB", (4, 4))
        progress(7, 7)
        text = "\n".join(["7 pictures", *problems])
        return SimpleNamespace(ok=not problems, text=lambda: text, sheet=lambda: sheet)

    check.check = look  # type: ignore[attr-defined]
    module.__path__ = []
    commands = ModuleType(f"percepta.systems.{SYSTEM}.commands")
    commands.__spec__ = SimpleNamespace(name=commands.__name__)  # type: ignore[assignment]
    commands.COMMANDS = {"count": (Count, count)}  # type: ignore[attr-defined]
    for part in (module, task, check, commands):
        monkeypatch.setitem(sys.modules, part.__name__, part)
    monkeypatch.setitem(TABLE, SYSTEM, "Finds blobs.")

    def load(name: str, **options: Any) -> Blobs:
        config = module.PRESETS[options.get("preset") or "small"]
        model = task.build(config)
        return Blobs(config, model, "none", Evaluator(SYSTEM, config, model), answers)

    monkeypatch.setattr(percepta, "load", load)
    return module


def run(*words: str) -> int:
    return cli.main(list(words))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian", SYSTEM], "Did you mean train?"),
        (["train", "blob"], "Did you mean blobs?"),
        (["train"], "which system?"),
        (["train", SYSTEM, "--out", "x", "--preset", "wid"], "Did you mean wide?"),
        (["train", SYSTEM, "--out", "x", "--train.lrr", "1"], "Did you mean --train.lr?"),
        (["train", SYSTEM, "--out", "x", "--widht", "1"], "Did you mean --width?"),
        (
            ["predict", SYSTEM, "x.jpg", "--treshold", "1"],
            "unknown option '--treshold'. Did you mean --score-threshold?",
        ),
        (["evaluate", SYSTEM, "--treshold", "1"], "unknown option '--treshold'. Valid:"),
        (["train", SYSTEM, "--out", "x", "--weights", "run/model.safetensors"], "run/model.safetensors: no such"),
        (["train", SYSTEM, "--out", "x", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["evaluate", SYSTEM, "--data", "nowhere"], "nowhere: no such folder"),
        (["evaluate", SYSTEM, "--device", "abacus"], "abacus"),
        (["evaluate", SYSTEM, "--weights", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["predict", SYSTEM, "nowhere.jpg", "a word"], "no file, folder or pattern 'nowhere.jpg'"),
        (["data", SYSTEM, "check", "nowhere"], "nowhere: no such folder"),
        (["list", "--all"], "unknown option '--all'"),
        ([SYSTEM, "trian"], "Did you mean train?"),
        ([SYSTEM, "cuont"], "Did you mean count?"),
        (["count"], "percepta blobs count"),
        (["count", SYSTEM, "x", "--twcie"], "Did you mean --twice?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    blobs: ModuleType, words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert run(*words) == 2
    out = capsys.readouterr()
    assert told in out.err
    assert out.err.startswith("error: ") and out.err.count("\n") == 1
    assert "Traceback" not in out.err


def test_items_of_a_list_stand_on_lines_of_their_own(
    blobs: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(text: str, recursive: bool) -> None:
        raise InputError("x: no layout of data\nthat is known. Looked for\n  DAVIS: JPEGImages/\n  COCO: [json]")

    monkeypatch.setattr(cli, "_source", read)
    assert run("predict", SYSTEM, "x.jpg") == 2
    lines = ["error: x: no layout of data that is known. Looked for", "  DAVIS: JPEGImages/", "  COCO: [json]"]
    assert capsys.readouterr().err.splitlines() == lines


def test_an_earlier_run_is_named_only_where_this_one_writes(
    blobs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    words = ["a word", "--out", str(tmp_path / "out")]
    assert run("predict", SYSTEM, str(tmp_path / "a.png"), *words) == 0
    assert "earlier run" not in capsys.readouterr().out
    assert run("predict", SYSTEM, str(tmp_path / "b.png"), *words) != 0
    assert "earlier run" not in capsys.readouterr().out
    assert run("predict", SYSTEM, str(tmp_path / "a.png"), *words) == 0
    assert capsys.readouterr().out.count("has results of an earlier run") == 1


def test_a_threshold_goes_to_systems_that_have_one_and_is_refused_by_others(
    blobs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    words = ["predict", SYSTEM, str(tmp_path / "a.png"), "a word", "--out", str(tmp_path / "out")]
    assert run(*words, "--score-threshold", "0.3") == 2
    assert f"{SYSTEM} has no score threshold" in capsys.readouterr().err
    plain, given = Blobs.predict, []

    def predict(self: Blobs, source: Path, words: list[str] | None = None, *, score_threshold: float = 0.5) -> Any:
        given.append(score_threshold)
        return plain(self, source, words)

    monkeypatch.setattr(Blobs, "predict", predict)
    assert run(*words, "--score-threshold", "0.3") == 0 and run(*words) == 0
    assert given == [0.3, 0.5]


def test_an_unknown_option_names_the_valid_ones(blobs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", SYSTEM, "--out", "x", "--nonsense") == 2
    error = capsys.readouterr().err
    for name in ("--out", "--width", "--train.steps", "--train.batch-size"):
        assert f"{name} " in error


def test_a_wrong_value_names_the_option(blobs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", SYSTEM, "--out", "x", "--train.steps", "many") == 2
    assert "--train.steps" in capsys.readouterr().err


def test_debug_shows_where(blobs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        run("predict", SYSTEM, "nowhere.jpg", "--debug")
    monkeypatch.setenv("PERCEPTA_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        run("predict", SYSTEM, "nowhere.jpg")


def test_a_mistake_of_ours_keeps_its_traceback(blobs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_source", lambda text, recursive: {}["key"])
    with pytest.raises(KeyError):
        run("predict", SYSTEM, "x.jpg")


def test_help_names_every_command_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    for name in [*TABLE, "data", "train", "evaluate", "predict", "export", "list", "demo", "doctor"]:
        assert name in text
    assert run() == 2
    assert run("--version") == 0
    assert percepta.__version__ in capsys.readouterr().out


def test_both_word_orders_are_one_command(blobs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("count", SYSTEM, "there", "--twice") == run(SYSTEM, "count", "there", "--twice") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == "counted there 2 times"
    assert run("train", SYSTEM, "--help") == run(SYSTEM, "train", "--help") == 0
    text = capsys.readouterr().out
    assert text[: len(text) // 2] == text[len(text) // 2 :]


def test_help_of_a_system_lists_what_only_it_can_do(blobs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(SYSTEM, "--help") == 0 and run(SYSTEM) == 2
    text = capsys.readouterr().out
    assert "Counts blobs." in text and "Finds blobs." in text and "evaluate" in text


def test_an_own_verb_may_replace_a_general_one(
    blobs: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(shell.commands_of(SYSTEM), "predict", (Count, count))  # type: ignore[arg-type]
    assert run("predict", SYSTEM, "there") == 0
    assert "counted there" in capsys.readouterr().out


def test_names_are_disjoint() -> None:
    """A word of the command line means one thing: a system, a verb, or what it is short for."""
    assert not set(TABLE) & {*cli.GENERAL, *cli.PLAIN, *SHORT}
    assert not set(SHORT) & {*cli.GENERAL, *cli.PLAIN}
    for system in TABLE:
        own = shell.commands_of(system)
        assert not set(own) & {*TABLE, *cli.PLAIN}
        for kind, function in own.values():
            assert is_dataclass(kind) and (kind.__doc__ or "").strip() and callable(function)
    for words in SHORT.values():
        assert words[0] in TABLE and all(verb in shell.commands_of(words[0]) for verb in words[1:])


@pytest.mark.parametrize("system", TABLE)
def test_help_of_every_verb(system: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in [*shell.commands_of(system)]:
        assert run(system, verb, "--help") == 0
        assert f"percepta {system} {verb}" in " ".join(capsys.readouterr().out.split())


def test_words_that_a_system_does_not_take_are_refused(
    blobs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(pictures(tmp_path, "a.png") / "a.png")
    monkeypatch.setattr(Blobs, "predict", lambda self, source: None)
    assert run("predict", SYSTEM, file, "red") == 2
    assert "takes no words" in capsys.readouterr().err
    monkeypatch.setattr(Blobs, "predict", lambda self, source, sentence: None)
    assert run("predict", SYSTEM, file) == 2
    assert "needs a sentence" in capsys.readouterr().err


def test_train_help_explains_the_settings_of_the_preset(blobs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", SYSTEM, "--preset", "wide", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--width" in text and "How wide. (default: 9)" in text
    assert "--train.steps" in text and "Optimizer steps in all." in text


def undocumented(config: Any, path: str = "") -> list[str]:
    """Settings that `--help` could not explain: no text under the field."""
    import tyro._docstrings

    missing = []
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            missing += undocumented(value, f"{path}{item.name}.")
        elif not tyro._docstrings.get_field_docstring(type(config), item.name, ()):
            missing.append(path + item.name)
    return missing


@pytest.mark.parametrize("system", TABLE)
def test_every_setting_is_explained(system: str) -> None:
    presets = import_module(f"percepta.systems.{system}").PRESETS
    assert sorted({setting for config in presets.values() for setting in undocumented(config)}) == []


@pytest.mark.parametrize("system", TABLE)
def test_settings_do_not_hide_options_of_train(system: str) -> None:
    options = shell.option_names(cli.train_options(system, "small"))
    assert len(options) == len(set(options))


def test_train_gets_what_the_options_say(blobs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from percepta import train as training

    seen: dict[str, Any] = {}

    def fake(system: str, config: Any, **rest: Any) -> Path:
        seen.update(rest, system=system, config=config)
        rest["out"].mkdir()
        (rest["out"] / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
        rest["progress"](1, 5, {"loss": 2.0, "lr": 0.1})
        return rest["out"] / "model.safetensors"

    monkeypatch.setattr(training, "train", fake)
    line = f"train {SYSTEM} --preset wide --out {tmp_path}/run --data {tmp_path} --train.steps 5 --train.lr 0.5"
    assert run(*line.split(), "--weights", "clip=RN50.pt", "--weights", "text=a=b.bin", "--no-resume") == 0
    assert seen["config"] == Config(width=9, train=TrainConfig(steps=5, lr=0.5))
    assert seen["weights"] == {"clip": Path("RN50.pt"), "text": Path("a=b.bin")}
    assert seen["root"] == tmp_path and seen["resume"] is False and seen["system"] == SYSTEM
    assert (tmp_path / "run" / "report.html").is_file()


def test_stopping_says_how_to_go_on(
    blobs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from percepta import train as training

    def stopped(*_: Any, **__: Any) -> Path:
        raise training.Stopped("run the same command again to go on")

    monkeypatch.setattr(training, "train", stopped)
    assert run("train", SYSTEM, "--out", str(tmp_path / "run")) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of result files, and a card without numbers beside the made-up system."""
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cards, "ROOT", tmp_path)
    monkeypatch.setattr(cards, "RESULTS", folder)
    (tmp_path / SYSTEM).mkdir()
    table = f"<!-- table {SYSTEM}/evaluate -->\n<!-- /table -->"
    (tmp_path / SYSTEM / "CARD.md").write_text(f"# Blobs\n{table}\nEnd.\n")
    (tmp_path / "README.md").write_text(f"Mean <!-- n {SYSTEM}/evaluate.mean:zero .1f -->?<!-- /n -->.\n")
    return folder


def test_evaluate_prints_writes_and_fills_the_card(
    blobs: ModuleType, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("evaluate", SYSTEM, "--batch-size", "2", "--out", str(out), "--card") == 0
    shown = capsys.readouterr().out
    assert "2.000" in shown and "1.000 to 3.000" in shown and "zero" in shown
    written = json.loads((out / "metrics.json").read_text())
    assert written["metrics"]["mean"]["value"] == 2.0 and written["metrics"]["mean"]["n"] == 5
    page = (out / "report.html").read_text()
    assert "1.000 to 3.000" in page and "the blobs were looked at" in page
    text = (tmp_path / SYSTEM / "CARD.md").read_text()
    assert "| mean | 2.000 | 1.000 to 3.000 | 5 (few) | 0.000 |" in text
    assert "there is nothing to export" in text and f"`percepta evaluate {SYSTEM} --batch-size 2 --card`" in text
    assert text.startswith("# Blobs\n") and text.endswith("End.\n")
    found = cards.read(published / f"{SYSTEM}-evaluate.json")
    assert found.values["mean"].low == 1.0 and found.values["parameters"].value == pytest.approx(8e-6)
    assert "-->0.0<!--" in (tmp_path / "README.md").read_text()


def test_card_says_what_differs_and_what_is_missing(
    blobs: ModuleType, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("card", SYSTEM) == 1
    assert f"missing {SYSTEM}/evaluate.mean:zero .1f" in capsys.readouterr().out
    found = cards.measured(SYSTEM, "evaluate", {"mean": Metric(2.0, baselines={"zero": 0.0})}, command="x")
    cards.write(found)
    assert run(SYSTEM, "card", "--check") == 1
    assert "differ" in capsys.readouterr().out and "?" in (tmp_path / "README.md").read_text()
    assert run("card", SYSTEM) == 0 == run("card", SYSTEM, "--check")
    assert "no marker" not in capsys.readouterr().out
    (tmp_path / "README.md").write_text("# Nothing is shown here\n")
    assert run("card", SYSTEM) == 0
    assert capsys.readouterr().out.count(f"no marker of {SYSTEM}") == 1


def test_outside_a_checkout_no_card_is_promised(
    blobs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cards, "RESULTS", tmp_path / "none")
    assert run("evaluate", SYSTEM, "--out", str(tmp_path / "out"), "--card") == 2
    assert "checkout" in capsys.readouterr().err and not (tmp_path / "out").exists()


def pictures(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 6), "red").save(folder / name)
    return folder


def test_predict_writes_a_drawing_a_mask_and_a_row_for_each_sentence(blobs: ModuleType, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", "a.jpg")
    out = tmp_path / "out"
    assert run("predict", SYSTEM, str(folder / "a.jpg"), "red", "blue", "--out", str(out)) == 0
    written = json.loads((out / "predictions.json").read_text())
    assert written["version"] == 1 and written["system"] == SYSTEM and written["words"] == ["red", "blue"]
    rows = written["predictions"]
    assert [(row["sentence"], row["score"]) for row in rows] == [("red", 0.5), ("blue", 0.5)]
    assert all((out / row["drawing"]).is_file() and (out / row["file"]).is_file() for row in rows)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["a.1.overlay.jpg", "a.1.png", "a.2.overlay.jpg", "a.2.png", "predictions.json", "report.html"]
    assert run("predict", SYSTEM, str(folder / "a.jpg"), "red", "--out", str(tmp_path / "one")) == 0
    assert (tmp_path / "one" / "a.png").is_file()


def test_predict_goes_on_after_an_unreadable_file(
    blobs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "in", "a.jpg", "a.png", "c.jpg")
    (folder / "b.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either, and none was promised")
    out = tmp_path / "out"
    assert run("predict", SYSTEM, str(folder), "red", "--out", str(out)) == 1
    shown = capsys.readouterr().out
    assert "b.jpg" in shown and "1 of 4 inputs failed" in shown and "left out: 1 file ending in .txt" in shown
    written = json.loads((out / "predictions.json").read_text())
    assert len(written["predictions"]) == 3 and [row["source"] for row in written["failed"]] == [str(folder / "b.jpg")]
    assert written["left_out"] == {"file ending in .txt": 1}
    assert {"a.png", "a.png.png", "c.png"} <= {path.name for path in out.iterdir()}  # two files of one stem
    assert run("predict", SYSTEM, str(folder / "a*"), "red", "--out", str(tmp_path / "glob")) == 0
    assert len(json.loads((tmp_path / "glob" / "predictions.json").read_text())["predictions"]) == 2
    assert run("predict", SYSTEM, str(folder / "b.jpg"), "red", "--out", str(out)) == 2


def test_data_check_counts_and_names_problems(
    blobs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.jpg"
    assert run("data", SYSTEM, "check", str(tmp_path), "--sheet", str(sheet)) == 0
    assert sheet.is_file() and "pictures" in capsys.readouterr().out
    (tmp_path / "bad.csv").touch()
    assert run("data", SYSTEM, "check", str(tmp_path)) == 1
    assert "bad.csv:1: empty" in capsys.readouterr().out


def test_weights_are_told_apart(tmp_path: Path) -> None:
    assert cli.split_weights([]) == (None, {})
    assert cli.split_weights(["runs/x"]) == (Path("runs/x"), {})
    assert cli.split_weights(["runs/lr=3/x.pt", "clip=RN50.pt"]) == (
        Path("runs/lr=3/x.pt"),
        {"clip": Path("RN50.pt")},
    )
    with pytest.raises(cli.UsageError, match="one checkpoint"):
        cli.split_weights(["a.pt", "b.pt"])


def test_demo_writes_one_page(blobs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = ModuleType(f"percepta.systems.{SYSTEM}.demo")
    module.__spec__ = SimpleNamespace(name=module.__name__)  # type: ignore[assignment]
    picture = Image.new("RGB", (8, 8), "green")
    module.demo = lambda load: [report.Text("found"), report.Gallery([(picture, "a blob")])]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in [name for name in TABLE if name != SYSTEM]:
        monkeypatch.delitem(TABLE, name)
    assert run("demo", "--out", str(tmp_path / "demo.html")) == 0
    html = (tmp_path / "demo.html").read_text()
    assert "Finds blobs." in html and "a blob" in html and "data:image/" in html


def test_doctor_looks_at_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from percepta import weights

    whole = {name: weight for name, weight in weights.TABLE.items() if weight.wheel}
    monkeypatch.setattr(weights, "TABLE", whole)
    assert run("doctor") == 0
    text = capsys.readouterr().out
    for word in (
        "python",
        "torch",
        "threads",
        "memory",
        "extra export",
        "efficientnet-lite0",
        "speed",
        "bfloat16",
    ):
        assert word in text, word
    damaged = {"broken": weights.Weight("a test", "MIT", "none", assets=("never-there.safetensors",))}
    monkeypatch.setattr(weights, "TABLE", damaged)
    assert run("doctor") == 1


def test_list_names_presets_weights_and_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    text = capsys.readouterr().out
    for word in [*TABLE, "small", "tiny", "efficientnet-lite0", "Apache-2.0"]:
        assert word in text, word


def test_as_a_program() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PERCEPTA_DEBUG"}
    done = subprocess.run(
        [sys.executable, "-m", "percepta", "nonsense"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2 and "no command 'nonsense'" in done.stderr and "Traceback" not in done.stderr


def test_tables_of_numbers_cut_no_name() -> None:
    """On a terminal of 80 columns every name, number and baseline is there in whole words."""
    import io

    from rich.console import Console

    from percepta import shell
    from percepta.metrics import Metric

    others = {"constant velocity": 3.3, "fan": 2.2, "truth": 0.5, "all modes alike": 0.25}
    names = ("one mode FDE, 3 s", "collisions, 3 s", "calibration error", "joint lowest ADE, 3 s")
    text = io.StringIO()
    found = {name: Metric(1.2345, 1.1, 1.3, 1234, "m", others) for name in names}
    shell.print_metrics(Console(file=text, width=80), "forecast", found)
    assert "…" not in text.getvalue() and max(map(len, text.getvalue().splitlines())) <= 80
    words = set(text.getvalue().replace("│", " ").replace("┃", " ").split())
    assert {*" ".join(names).split(), *" ".join(others).split(), "3.300", "1.100", "1234"} <= words
