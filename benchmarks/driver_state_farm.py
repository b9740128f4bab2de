"""State Farm with drivers kept apart: accuracy of five folds over the drivers, beside frozen features with ridge.

    python benchmarks/driver_state_farm.py DATA --out FOLDER [--fold N] [--record]
    python benchmarks/driver_state_farm.py DATA --out FOLDER --all
    python benchmarks/driver_state_farm.py OTHER --out FOLDER --test FOLDER/all-weights.pt

Resumable: each epoch and each fold is kept. Per fold: maps of the frozen blocks are made once for all folds, then 7
epochs of batches of 32; the test drivers are looked at once, after the last epoch. When all five folds are there, a
split of pictures at random is measured as well (frozen features with ridge): the leak that many published numbers have.
The second trains on all drivers; the third tests such weights on drivers of another folder.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from record import record

from percepta import pretrained
from percepta.datasets import state_farm
from percepta.metrics import Metric, interval
from percepta.systems.driver.pictures import PictureNet, maps, mixed_loss

VERSIONS, EPOCHS, BATCH = 4, 7, 32


def network() -> PictureNet:
    net = PictureNet(len(state_farm.LABELS))
    pretrained.fill(net, {"image": "efficientnet-lite0"})
    net.freeze()
    return net


def cached(data: state_farm.Drivers, out: Path) -> list[np.ndarray]:
    found = []
    net = network().eval()
    for version in range(VERSIONS):
        path = out / f"maps-{version}.npy"
        if not path.is_file():
            made = maps(net, data.pixels, version)
            with (out / "part.tmp").open("wb") as file:
                np.save(file, made)
            (out / "part.tmp").replace(path)
        found.append(np.load(path, mmap_mode="r"))
        print(f"maps {version + 1} of {VERSIONS}", flush=True)
    return found


def train(early: list[np.ndarray], label: np.ndarray, rows: np.ndarray, state: Path) -> PictureNet:
    torch.manual_seed(0)
    net = network().train()
    mine = [value for name, value in net.named_parameters() if value.requires_grad and "classify" not in name]
    groups = [{"params": mine, "lr": 4e-4}, {"params": net.classify.parameters(), "lr": 2e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.03)
    steps = EPOCHS * (len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1.0, (i + 1) / 50) * 0.5 * (1 + math.cos(math.pi * min(i, steps) / steps))
    )
    average, first = deepcopy(net).eval(), 0
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        for part, name in ((net, "net"), (average, "average"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(kept[name])
        first = kept["epoch"]
    for epoch in range(first, EPOCHS):
        rng, generator = np.random.default_rng(epoch), torch.Generator().manual_seed(epoch)
        order, began, total = rng.permutation(rows), time.time(), 0.0
        for i in range(0, len(order) - BATCH + 1, BATCH):
            some = np.sort(order[i : i + BATCH])
            version = int(rng.integers(VERSIONS))
            x = torch.from_numpy(early[version][some].astype(np.float32))
            loss = mixed_loss(net, x, torch.from_numpy(label[some]), generator)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
            with torch.no_grad():
                for a, b in zip(average.parameters(), net.parameters(), strict=True):
                    a.lerp_(b, 0.01)
        kept = {
            "net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(), "epoch": epoch + 1,
        }  # fmt: skip
        torch.save(kept, state.with_suffix(".tmp"))
        state.with_suffix(".tmp").replace(state)
        mean, took = total / (len(order) // BATCH), time.time() - began
        print(f"{state.stem} epoch {epoch + 1}: loss {mean:.3f}, {took:.0f} s", flush=True)
    return average.eval()


@torch.inference_mode()
def predicted(net: PictureNet, early: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [net(torch.from_numpy(early[rows[i : i + 64]].astype(np.float32))).numpy() for i in range(0, len(rows), 64)]
    )


@torch.inference_mode()
def ridge(net: PictureNet, early: np.ndarray, label: np.ndarray, train_rows: np.ndarray, rows: np.ndarray) -> float:
    net = deepcopy(net).eval()
    net.classify = torch.nn.Identity()  # type: ignore[assignment]
    x = predicted(net, early, np.arange(len(label)))
    mean, deviation = x[train_rows].mean(0), x[train_rows].std(0) + 1e-3
    x = np.concatenate([(x - mean) / deviation, np.ones((len(x), 1), x.dtype)], 1)
    a, y = x[train_rows], np.eye(10, dtype=x.dtype)[label[train_rows]]
    weight = np.linalg.solve(a.T @ a + 1000 * np.eye(a.shape[1], dtype=x.dtype), a.T @ y)
    return float(((x[rows] @ weight).argmax(1) == label[rows]).mean())


def tested(data: state_farm.Drivers, weights: Path) -> None:
    net = network().eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    right = predicted(net, maps(net, data.pixels, 0), np.arange(len(data.label))).argmax(1) == data.label
    driver = np.array(data.driver)
    for name in sorted(set(data.driver)):
        print(f"{name}: {right[driver == name].mean():.3f}")
    print(f"{len(set(data.driver))} drivers: accuracy {right.mean():.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, action="append")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--test", type=Path)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = state_farm.read(options.data)
    if options.test is not None:
        tested(data, options.test)
        return
    early = cached(data, options.out)
    if options.all:
        net = train(early, data.label, np.arange(len(data.label)), options.out / "all.pt")
        torch.save(net.state_dict(), options.out / "all-weights.pt")
        return
    driver = np.array(data.driver)
    for fold in options.fold or range(5):
        file = options.out / f"fold-{fold}.json"
        names = state_farm.folds(data.driver)[fold]
        test = np.isin(driver, names)
        if not file.is_file():
            rows, held = np.flatnonzero(~test), np.flatnonzero(test)
            net = train(early, data.label, rows, options.out / f"fold-{fold}.pt")
            right = predicted(net, early[0], held).argmax(1) == data.label[held]
            each = {name: float(right[driver[held] == name].mean()) for name in names}
            frozen = ridge(network(), early[0], data.label, rows, held)
            result = {"fold": fold, "accuracy": float(right.mean()), "drivers": each, "frozen + ridge": frozen}
            file.write_text(json.dumps(result, indent=1) + "\n")
        print(file.read_text(), flush=True)
    done = [json.loads(path.read_text()) for path in sorted(options.out.glob("fold-*.json"))]
    mean, level = (float(np.mean([one[key] for one in done])) for key in ("accuracy", "frozen + ridge"))
    print(f"{len(done)} folds: accuracy {mean:.3f}, frozen + ridge {level:.3f}")
    if len(done) < 5:
        return
    each = np.array([value for one in done for value in one["drivers"].values()])
    low, high = interval(each)
    frequent = float(np.bincount(data.label).max() / len(data.label))
    mixed = np.random.default_rng(0).permutation(len(data.label))
    leak = ridge(network(), early[0], data.label, mixed[len(mixed) // 5 :], mixed[: len(mixed) // 5])
    levels = {"frozen + ridge": level, "most frequent": frequent}
    values = {
        "accuracy": Metric(mean, min(low, mean), max(high, mean), len(each), baselines=levels),
        "frozen + ridge, pictures split at random (a leak)": Metric(leak, n=len(mixed) // 5),
    }
    print(f"drivers {low:.3f} to {high:.3f}; pictures split at random, frozen + ridge: {leak:.3f} (a leak)")
    if options.record:
        record("driver", "state-farm", values)  # of runs that do not ship: no hash


if __name__ == "__main__":
    main()
