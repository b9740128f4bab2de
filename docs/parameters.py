"""Writes how many parameters every preset of every system has, for `percepta list`, which builds no network.

python docs/parameters.py

`tests/test_contract.py` holds the file to the networks.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import torch

import percepta.systems

FILE = Path(percepta.systems.__file__).with_name("parameters.json")


def counted() -> dict[str, dict[str, int]]:
    """{system: {preset: parameters of its network}}."""
    out: dict[str, dict[str, int]] = {}
    for name in percepta.systems.TABLE:
        build = import_module(f"percepta.systems.{name}.task").build
        out[name] = {}
        for preset, config in import_module(f"percepta.systems.{name}").PRESETS.items():
            with torch.device("meta"):  # shapes only: nothing is allocated or drawn
                out[name][preset] = sum(value.numel() for value in build(config).parameters())
    return out


if __name__ == "__main__":
    FILE.write_text(json.dumps(counted(), indent=1) + "\n")
    print(FILE)
