"""Commands in other encodings than UTF-8: what cannot be shown is shown in another way, and nothing breaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import percepta

ENVIRONMENTS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C locale": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_commands_work_in_other_encodings(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "Fotos – été"
    folder.mkdir()
    shutil.copy(percepta.sample("cat"), folder / "кот.jpg")
    env = {**{k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}, **ENVIRONMENTS[name]}

    def run(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "percepta", *words]
        done = subprocess.run(command, capture_output=True, env=env, cwd=tmp_path, check=False)
        return done.returncode, (done.stdout + done.stderr).decode("latin-1")

    for words in (["list"], ["doctor"], ["predict", "--help"], ["data", "distill", "check", "--help"]):
        code, text = run(*words)
        assert code == 0 and "Traceback" not in text, text
    code, text = run("predict", "distill", str(folder), "--out", str(tmp_path / "out"))
    assert code == 0 and "cat" in text and "Traceback" not in text, text
    assert (tmp_path / "out" / "кот.overlay.jpg").is_file()
    code, text = run("predict", "distill", str(folder / "nichts – ничего.jpg"), "--out", str(tmp_path / "out"))
    assert code == 2 and "Traceback" not in text and "error" in text, text
