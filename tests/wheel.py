"""The wheel alone, in an environment that has nothing else, outside of the checkout: what a newcomer does first.

    python tests/wheel.py

Builds the wheel, says its size, installs it into build/alone (torch first, as README says), and runs what README shows
before any data is there. `make wheel` calls it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALONE = ROOT / "build" / "alone"
LARGEST_MB = 95
COMMANDS = (
    ["percepta", "list"],
    ["percepta", "doctor"],
    ["percepta", "samples", "photos"],
    ["percepta", "predict", "refer", "sample:coffee", "the cup", "the giraffe"],
    ["percepta", "predict", "distill", "photos", "--out", "out/distill"],
    ["percepta", "index", "add", "photos"],
    ["percepta", "index", "search", "a cat looks at the camera"],
)


def call(*words: str | Path, cwd: Path = ROOT, **rest: str) -> str:
    """Runs a command, ends the program where it fails, gives back what it printed."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(ALONE / "home"), "OMP_NUM_THREADS": "2", **rest}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Builds, installs, runs."""
    import os

    shutil.rmtree(ALONE, ignore_errors=True)
    (ALONE / "home").mkdir(parents=True)
    (ALONE / "here").mkdir()
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    pip["HOME"] = str(Path.home())  # pip's own settings: which index it asks
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", ALONE, ".", **pip)
    (wheel,) = ALONE.glob("percepta-*.whl")
    megabytes = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {megabytes:.1f} MB")
    if megabytes > LARGEST_MB:
        sys.exit(f"the wheel is larger than {LARGEST_MB} MB")
    call(sys.executable, "-m", "venv", ALONE / "env")
    python = ALONE / "env" / "bin" / "python"
    limits = ROOT / "constraints.txt"
    call(python, "-m", "pip", "install", "--quiet", "-c", limits, "torch", **pip)
    call(python, "-m", "pip", "install", "--quiet", "-c", limits, wheel, **pip)
    for name, *words in COMMANDS:
        printed = call(python.with_name(name), *words, cwd=ALONE / "here")
        print(f"{name} {' '.join(words)}: {len(printed.splitlines())} lines")
    where = call(python, "-c", "import percepta; print(percepta.__file__)", cwd=ALONE / "here").strip()
    if str(ALONE) not in where:
        sys.exit(f"not the wheel was run, but {where}")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert first is not None
    print(call(python, "-c", first[1].replace("result.draw().show()", "result.draw()"), cwd=ALONE / "here").strip())


if __name__ == "__main__":
    main()
