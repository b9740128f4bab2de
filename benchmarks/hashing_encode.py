"""Times encoding photos and videos for `percepta index add`, decoding included, and what int8 loses.

    python benchmarks/hashing_encode.py [--photos 200] [--threads 2] [--data DIR] [--weights FILE]

Photos are JPEGs of 640 × 480, the video is H.264 of 1280 × 720 with cuts, both made here; with DIR (or $PERCEPTA_DATA)
the loss is measured on Flickr8k's photos and captions that lie below it: cosine to float32, bits that agree, and text
to image R@10 among 200 photos with the codes. Wants an idle machine; the process's own time is printed beside. Goal: 60
a second on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from record import record

import percepta
from percepta.media import video
from percepta.systems.hashing import encode, moments
from percepta.systems.hashing.encode import ModelEncoder
from percepta.systems.hashing.moments import Item, Settings


def picture(seed: int, width: int, height: int) -> np.ndarray:
    """Smooth noise, as large on disk as a photograph of its size."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 40, width // 40, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return (pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)


def make(folder: Path, photos: int) -> tuple[list[Item], Item]:
    """Photos and a video, as items."""
    items = []
    for number in range(photos):
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(picture(number, 640, 480)).save(path, quality=88)
        items.append(Item(str(path), "photo", path.stat().st_size, path.stat().st_mtime_ns))
    clip = folder / "clip.mp4"
    with video.Writer(clip, 30) as writer:
        for shot in range(6):
            wide = picture(1000 + shot, 1600, 720)
            for step in range(60):
                writer.add(wide[:, 4 * step : 4 * step + 1280])
    return items, Item(str(clip), "video", clip.stat().st_size, clip.stat().st_mtime_ns)


def timed(items: list[Item], encoder: ModelEncoder, threads: int) -> tuple[float, float, int]:
    """Wall seconds, the process's own seconds, and how many pictures and frames were encoded."""
    count, real = 0, encoder.pictures

    def counting(pixels: np.ndarray) -> np.ndarray:
        nonlocal count
        count += len(pixels)
        return real(pixels)

    encoder.pictures = counting  # type: ignore[method-assign]
    wall, own = time.perf_counter(), time.process_time()
    with encode.single_threaded():
        for _, result, _ in moments.encode_files(((item, "0" * 64) for item in items), encoder, Settings(), threads):
            if isinstance(result, Exception):
                raise result
    encoder.pictures = real  # type: ignore[method-assign]
    return time.perf_counter() - wall, time.process_time() - own, count


def decoding(item: Item, side: int) -> None:
    """What decoding alone costs, with and without H.264's deblocking."""
    times = {}
    for fast in (False, True, False, True):
        own = time.process_time()
        frames = [s.frame for s in video.walk(item.path, 0.25, size=(side, side), watch=lambda *_: None, fast=fast)]
        times[fast] = (time.process_time() - own, np.stack(frames).astype(np.int16))
    share = times[True][0] / times[False][0]
    apart = np.abs(times[True][1] - times[False][1]).mean()
    print(f"decoding 12 s of video: {times[False][0]:.2f} s; without deblocking {share:.2f} of that")
    print(f"  and the small frames are {apart:.2f}/255 apart")


def loss(model: encode.Hasher, encoders: dict[str, ModelEncoder], data: Path) -> dict[str, float]:
    """How far the others are from float32."""
    values: dict[str, float] = {}
    with (data / "flickr8k" / "captions.csv").open(encoding="utf-8") as file:
        rows = [(row["image"], row["caption"]) for row in csv.DictReader(file)][:1000]
    names = list(dict.fromkeys(name for name, _ in rows))
    paths = {path.name: path for path in (data / "flickr8k").rglob("*.jpg")}
    pixels = [moments.photo(paths[name], model.side)[None] for name in names]
    sentences = np.unpackbits(next(iter(encoders.values())).sentences([text for _, text in rows]), axis=1)
    owner = np.array([names.index(name) for name, _ in rows])
    first: tuple[np.ndarray, np.ndarray] | None = None
    for name, encoder in encoders.items():
        vectors = np.concatenate([encoder.pictures(one) for one in pixels])
        bits = np.unpackbits(encoder.codes(vectors), axis=1)
        apart = (sentences[:, None] != bits[None]).sum(2)
        rank = (apart < apart[np.arange(len(owner)), owner][:, None]).sum(1)
        first = first or (vectors, bits)
        cosine = (vectors * first[0]).sum(1)
        agree = (bits == first[1]).mean()
        values |= {
            f"{name}, cosine to float32": cosine.mean(), f"{name}, bits that agree": agree,
            f"{name}, R@10": (rank < 10).mean(),
        }  # fmt: skip
        print(
            f"{name}: cosine {cosine.mean():.4f} (least {cosine.min():.4f}), {100 * agree:.2f} % of the bits agree, "
            f"text to image R@10 {(rank < 10).mean():.3f} among {len(names)} photos"
        )
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", type=Path, default=os.environ.get("PERCEPTA_DATA"))
    parser.add_argument("--weights", help="a checkpoint of hashing; left out: what ships")
    args = parser.parse_args()
    model = percepta.load(args.weights or "hashing", device="cpu").model
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos, clip = make(folder, args.photos)
        encoders, values = {"float32": ModelEncoder(model)}, {}
        decoding(clip, model.side)
        if all(find_spec(package) for package in ("onnx", "onnxscript", "onnxruntime")):
            shown = sorted((Path(args.data) / "flickr8k").rglob("*.jpg"))[-64:] if args.data else []
            some = [moments.photo(path, model.side) for path in shown or [item.path for item in photos[:64]]]
            for kind, pixels in (("onnx", None), ("int8", np.stack(some))):
                encoders[kind] = ModelEncoder(model, encode.write_graph(model, folder / f"{kind}.onnx", pixels))
        for kind, encoder in encoders.items():
            timed(photos[:4], encoder, args.threads)  # what only the first call costs
            for what, items in (("photos", photos), ("video", [clip])):
                wall, own, count = timed(items, encoder, args.threads)
                values[f"{kind}, {what} a second"] = count / wall
                values[f"{kind}, {what}, ms each"] = 1000 * wall / count
                values[f"{kind}, {what}, ms of processor each"] = 1000 * own / count
                print(
                    f"{kind}, {what}: {count / wall:.0f} a second with {args.threads} threads; "
                    f"{1000 * own / count:.1f} ms of processor each, so {args.threads * count / own:.0f} on idle cores"
                )
        if args.data:
            values |= loss(model, encoders, Path(args.data))
    record("hashing", "encode", values, model=model)


if __name__ == "__main__":
    main()
