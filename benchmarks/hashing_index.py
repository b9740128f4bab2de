"""Searches a million codes of `hashing` exactly and by lists, adds codes, and reckons up to 10⁹ moments.

    python benchmarks/hashing_index.py [--moments 1000000] [--data DIR] [--bits 512]

The codes are those of real embeddings with noise: pictures below DIR (or $PERCEPTA_DATA) are encoded by what ships,
each vector comes many times with noise as neighbouring frames have it, and is hashed; without DIR, of a mixture of
directions that falls off as the pictures' does. Queries are further noisy vectors, and with DIR sentences too, which
lie far from every picture. One thread; medians of wall time and of the thread's own time, which a busy machine does not
touch. Goals: exact 3 ms a query, by lists 0.5 ms with recall@10 of 0.95 counted by distance, 100,000 codes a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import record

from percepta.systems.hashing import codes as searching
from percepta.systems.hashing.codes import Exact, Lists, Shards
from percepta.systems.hashing.index import Entry, Index, Writer

NOISE = (0.2, 0.4, 0.8)  # length of the noise against the vector's: the same shot, the same scene, the same subject
QUERIES = 200


def real_vectors(data: Path, most: int, weights: str | None) -> tuple[np.ndarray, Any]:
    """Vectors of pictures below a folder, and the model."""
    import percepta
    from percepta.media import image
    from percepta.systems.hashing import moments
    from percepta.systems.hashing.encode import ModelEncoder

    encoder = ModelEncoder(percepta.load(weights or "hashing", device="cpu").model)
    folders = ("flickr8k", "oasis", "coco-small", "davis16-train", "ccp", "voc-coseg")
    paths = [p for f in folders for p in sorted((data / f).rglob("*")) if p.suffix.lower() in image.SUFFIXES]
    paths = [p for p in paths if "mask" not in str(p).lower() and p.suffix.lower() != ".png"]
    step = max(1, len(paths) // most)
    return np.concatenate([encoder.pictures(moments.photo(p, encoder.side)[None]) for p in paths[::step]]), encoder


def synthetic_vectors(count: int, width: int = 512) -> np.ndarray:
    """Unit vectors whose variance falls off as 1 / direction, in a few hundred loose groups."""
    rng = np.random.default_rng(0)
    fall = 1 / np.sqrt(1 + np.arange(width))
    groups = rng.standard_normal((300, width)) * fall
    rows = groups[rng.integers(0, 300, count)] + 0.7 * rng.standard_normal((count, width)) * fall
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def noisy(vectors: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Vectors drawn again and again with noise of one of the lengths of `NOISE`, spread as the vectors are."""
    spread = vectors.std(0)
    spread /= np.linalg.norm(spread)
    rows = vectors[rng.integers(0, len(vectors), count)]
    lengths = np.array(NOISE, np.float32)[rng.integers(0, len(NOISE), (count, 1))]
    rows = rows + lengths * rng.standard_normal(rows.shape, np.float32) * spread
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def hasher(encoder: Any, width: int, bits: int) -> Callable[[np.ndarray], np.ndarray]:
    """Vectors to packed codes: by the model, or by random directions."""
    if encoder is not None:
        import torch

        def hash_all(rows: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np.packbits(encoder.model.hash(torch.from_numpy(rows)).numpy(), axis=1)

        return hash_all
    to_bits = np.random.default_rng(1).standard_normal((width, bits)).astype(np.float32)
    return lambda rows: np.packbits(rows @ to_bits > 0, axis=1)


def timed(search: Callable[[np.ndarray], Any], queries: np.ndarray, times: int) -> tuple[float, float]:
    """Medians of wall and of thread time of one query, in ms."""
    wall, own = [], []
    for index in range(times):
        query = queries[index % len(queries)][None]
        a, b = time.perf_counter(), time.thread_time()
        search(query)
        wall.append(time.perf_counter() - a)
        own.append(time.thread_time() - b)
    return 1000 * statistics.median(wall), 1000 * statistics.median(own)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the ten that are no farther than the true tenth."""
    return float((found <= exact[:, -1:]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=512, help="only without data: the model's are its own")
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--data", type=Path, default=os.environ.get("PERCEPTA_DATA"))
    parser.add_argument("--weights", help="a checkpoint of hashing; left out: what ships")
    parser.add_argument("--lists", type=int, nargs="*", default=[1024])
    parser.add_argument("--cache", type=Path, help="a file for the pictures' vectors (.npy)")
    args = parser.parse_args()
    rng = np.random.default_rng(7)
    encoder = None
    if args.cache and args.cache.is_file() and args.data:
        import percepta
        from percepta.systems.hashing.encode import ModelEncoder

        encoder = ModelEncoder(percepta.load(args.weights or "hashing", device="cpu").model)
        vectors = np.load(args.cache)
    elif args.data:
        vectors, encoder = real_vectors(Path(args.data), args.pictures, args.weights)
        if args.cache:
            np.save(args.cache, vectors)
    else:
        vectors = synthetic_vectors(args.pictures)
    to_codes = hasher(encoder, vectors.shape[1], args.bits)
    parts = [to_codes(noisy(vectors, rng, min(50_000, args.moments - at))) for at in range(0, args.moments, 50_000)]
    codes = np.concatenate(parts)
    queries = {"pictures": to_codes(noisy(vectors, rng, QUERIES))}
    if encoder is not None and (Path(args.data) / "flickr8k/captions.csv").is_file():
        lines = (Path(args.data) / "flickr8k/captions.csv").read_text().splitlines()[1 : 5 * QUERIES : 5]
        queries["sentences"] = encoder.sentences([line.partition(",")[2] for line in lines])
    kind = f"{len(vectors)} real pictures" if encoder is not None else "a synthetic mixture"
    print(f"{len(codes):,} codes of {8 * codes.shape[1]} bits from {kind}: {codes.nbytes / 1e6:.0f} MB")

    truth: dict[str, Any] = {}
    values: dict[str, float] = {"moments": len(codes)}
    for engine in ("numpy", "faiss"):
        if engine == "faiss" and not searching.has_faiss():
            print("faiss is not installed: pip install 'percepta[search]'")
            continue
        if engine == "faiss":
            import faiss  # type: ignore[import-not-found]

            faiss.omp_set_num_threads(1)
        began = time.perf_counter()
        exact = Exact(codes, engine)
        loaded = time.perf_counter() - began
        wall, own = timed(lambda q, exact=exact: exact.search(q, 10), queries["pictures"], 60)
        values[f"exact, {engine}, ms a query"] = wall
        values[f"exact, {engine}, ms of the thread"] = own
        print(f"exact, {engine}: {wall:.2f} ms a query ({own:.2f} ms of the thread), loaded in {loaded:.2f} s")
        if not truth:
            truth = {name: exact.search(rows, 10) for name, rows in queries.items()}
        else:
            same = all(np.array_equal(exact.search(rows, 10).rows, truth[name].rows) for name, rows in queries.items())
            print(f"  the same results as numpy: {same}")
        del exact
    split = [lambda part=part: part for part in np.array_split(codes, 3)]
    with Shards(split) as shards:
        same = all(np.array_equal(shards.search(rows, 10).rows, truth[name].rows) for name, rows in queries.items())
        print(f"three shards give the same results: {same}")

    for lists in args.lists if searching.has_faiss() else ():
        began, own = time.perf_counter(), time.thread_time()
        made = Lists(codes, lists)
        seconds, own = time.perf_counter() - began, time.thread_time() - own
        print(f"{lists} lists: made in {seconds:.1f} s ({own:.1f} s of the thread)")
        for probes in (1, 4, 8, 16, 32, 64, 128):
            made.probes = probes
            wall, own = timed(lambda q, made=made: made.search(q, 10), queries["pictures"], 200)
            found = {
                name: recall(made.search(rows, 10).distances, truth[name].distances) for name, rows in queries.items()
            }
            values[f"{lists} lists, {probes} probes, ms a query"] = wall
            values |= {f"{lists} lists, {probes} probes, recall@10 {name}": share for name, share in found.items()}
            shares = ", ".join(f"{name} {share:.3f}" for name, share in found.items())
            print(f"  {probes:>4} probes: {wall:.3f} ms ({own:.3f} ms of the thread), recall@10 {shares}")

    values |= adding(codes)
    record("hashing", "index", values, model=None if encoder is None else encoder.model)


def adding(codes: np.ndarray) -> dict[str, float]:
    """Writes codes to disk as files with 500 moments each, and opens the index."""
    bits, per = 8 * codes.shape[1], 500
    times = np.stack((np.arange(per) / 2, np.arange(1, per + 1) / 2), 1).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        began, own = time.perf_counter(), time.process_time()
        with Writer(folder, "benchmark", bits) as writer:
            for number, start in enumerate(range(0, len(codes), per)):
                part = codes[start : start + per]
                digest = f"{number:064x}"
                writer.put(Entry(f"/f/{number:09d}.mp4", "video", 1, 1, digest, 0.0, times[: len(part)], part))
        seconds, own = time.perf_counter() - began, time.process_time() - own
        print(
            f"added and written: {len(codes) / seconds:,.0f} codes a second ({len(codes) / own:,.0f} by its own time)"
        )
        began = time.perf_counter()
        index = Index.open(folder)
        print(f"opened, checksums compared: {time.perf_counter() - began:.2f} s for {len(index):,} moments")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        print(f"on disk: {size / 1e6:.0f} MB, {size / len(index):.1f} bytes a moment")
    return {"codes added a second": len(codes) / seconds, "bytes a moment": size / len(index)}


if __name__ == "__main__":
    main()
