"""What each part of the adaptation gives: short runs with parts switched off or on, three seeds, intervals.

    python benchmarks/ablations/weather_ablation.py [--data DATA/camvid] [--steps 300] [--seeds 3] [--only NAME ...]

Without --data on rendered streets at night (preset tiny, a minute a run); with it, preset small on CamVid, adapted
on 0001TP_006690 to 007890 and compared on the split val (the first 41 pictures at dusk), never on the last 21. --out is
written after every run, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import percepta
from percepta.systems.weather import PRESETS, Config
from percepta.train import train

# {name: settings that differ from the preset; a dictionary changes the adaptation}
VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    "labelled pictures alone": {"adaptation": {"self_training": False}, "light": 0.0, "weather": 0.0},
    "light and weather alone": {"adaptation": {"self_training": False}, "light": 0.6, "weather": 0.15},
    "without light and weather": {"light": 0.0, "weather": 0.0},
    "without class mix": {"adaptation": {"class_mix": False}},
    "without strong changes": {"adaptation": {"jitter": 0.0}},
    "without rare class sampling": {"adaptation": {"rare_class_temperature": 0.0}},
    "with feature distance": {"adaptation": {"feature_distance": 0.005}},
    "each pixel weighs by itself": {"adaptation": {"pixel_weights": True}},
    "threshold as published": {"adaptation": {"pseudo_threshold": 0.968}},
    "with reference pictures": {"adaptation": {"reference_weight": 0.7}},
    "without exposure": {"exposure": 0.0},
}


def changed(config: Config, what: dict[str, Any]) -> Config:
    """The settings of a variant."""
    plain = {name: value for name, value in what.items() if name != "adaptation"}
    return replace(config, adaptation=replace(config.adaptation, **what.get("adaptation", {})), **plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/weather-ablation.json"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    options = parser.parse_args()
    base = PRESETS["small" if options.data else "tiny"]
    if options.data:
        base = replace(base, target_last="0001TP_007890")
    steps = options.steps or (300 if options.data else base.train.steps)
    where = "camvid" if options.data else "rendered streets"
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    split = "val" if options.data else "test"
    for seed in range(options.seeds):
        for name in options.only:
            key = f"{where}, {steps} steps, {name}, seed {seed}"
            if key in found or (options.data and name == "with reference pictures"):  # CamVid has none
                continue
            settings = replace(base.train, steps=steps, seed=seed, checkpoint_every=steps)
            config = replace(changed(base, VARIANTS[name]), train=settings)
            with tempfile.TemporaryDirectory() as folder:
                path = train("weather", config, root=options.data, out=Path(folder) / "run", device="cpu")
                system = percepta.load(path, system="weather", device="cpu")
                metrics = system.evaluate(options.data, split=split).metrics
            found[key] = {one: metric.value for one, metric in metrics.items() if one.startswith("miou/")}
            print(key, found[key], flush=True)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    for name in options.only:
        rows = [found.get(f"{where}, {steps} steps, {name}, seed {seed}") for seed in range(options.seeds)]
        rows = [row for row in rows if row]
        if len(rows) > 1:
            said = []
            for key in rows[0]:
                values = np.array([row[key] for row in rows])
                half = 4.303 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) == 3 else float("nan")
                said.append(f"{key.removeprefix('miou/')} {values.mean():.3f} ± {half:.3f}")
            print(f"{name:30} {', '.join(said)} (95 % by t, {len(rows)} seeds)")


if __name__ == "__main__":
    main()
