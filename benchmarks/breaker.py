"""Tries to break what reads files, keeps work and answers to browsers; prints counts of what held and what did not.

    python benchmarks/breaker.py [--part readers|bombs|kills|server] [--mutations 300] [--kills 120] [--keep DIR]

readers   every reader of a user's files, each of its files spoiled so often (`breaker_readers.py`): read all the same,
          refused by an InputError that names the file, or a fault (any other exception, no answer, a crash)
bombs     small files that announce or unpack to gigabytes: refused within seconds and 2 GB
kills     kill -9 at random moments of a training, of an index that is added to and compacted, and of ratings: nothing
          that was answered may be lost, and the training ends in the very weights of one that was left alone
server    attacks on the page of `percepta aesthetics rate`: paths out of the album, other hosts and origins, large and
          odd bodies, markup in file names

It ends with 1 where something broke. --keep writes the files that did it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import pickle
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import breaker_readers
import breaker_sets
import numpy as np
from breaker_readers import Outcome, Reader
from PIL import Image

from percepta import checkpoint, pretrained
from percepta.datasets import cifar, coco, refcoco, scannet
from percepta.datasets.album import read_ratings
from percepta.errors import InputError
from percepta.geometry import ply
from percepta.media import image, video
from percepta.systems.hashing.index import Index

MOST_MB = 2000  # that a reader may take beyond what the process had
Row = tuple[str, str, bool]
"""What was tried, what came of it, and whether that is good."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("readers", "bombs", "kills", "server"))
    parser.add_argument("--mutations", type=int, default=300)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "readers": lambda: readers(options.mutations, options.seed, options.keep),
        "bombs": bombs,
        "kills": lambda: kills(options.kills, options.seed),
        "server": server,
    }
    bad = 0
    for name, part in parts.items():
        if options.part in (None, name):
            print(f"== {name}", flush=True)
            for what, found, good in part():
                bad += not good
                print(f"{'' if good else 'BROKEN '}{what}: {found}", flush=True)
    print(f"{bad} broken" if bad else "nothing broke")
    return 1 if bad else 0


def apart(work: Callable[..., Any], *arguments: Any, limit_s: float) -> tuple[Any, int, float]:
    """Runs a function in a process of its own: (its answer or why there is none, MB that it took, seconds)."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what FFmpeg and others tell about damaged files
        answer = work(*arguments)
        theirs.send((answer, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024))

    began = time.monotonic()
    process = context.Process(target=run)
    process.start()
    theirs.close()
    answer, megabytes = f"no answer within {limit_s:g} s", 0
    if ours.poll(limit_s):
        try:
            answer, megabytes = ours.recv()
        except EOFError:
            process.join()
            answer = f"the process ended with {process.exitcode}"
    process.kill()
    process.join()
    return answer, megabytes, time.monotonic() - began


# ------------------------------------------------------------------------------------------------------ readers


def readers(count: int, seed: int, keep: Path | None) -> Iterator[Row]:
    """A row for each reader, and one for all."""
    total = Outcome()
    tried = 0
    for reader in [*breaker_readers.trees(), *breaker_sets.sets()]:
        with tempfile.TemporaryDirectory() as folder:
            limit_s = 60 + count * len(reader.files) * 2.0
            out, megabytes, seconds = apart(_break, reader, folder, count, seed, limit_s=limit_s)
        if not isinstance(out, Outcome):
            yield reader.name, str(out), False
            continue
        tried += count * len(reader.files)
        total.read, total.refused = total.read + out.read, total.refused + out.refused
        total.faults.update(out.faults)
        faults = "".join(f"\n    {number} × {fault}" for fault, number in out.faults.most_common())
        text = f"{out.read} read, {out.refused} refused, {sum(out.faults.values())} faults; "
        text += f"{megabytes} MB, {seconds:.0f} s"
        yield reader.name, text + faults, not out.faults and megabytes < MOST_MB
        for i, (fault, (name, data)) in enumerate(out.examples.items() if keep else ()):
            place = (keep or Path()) / f"{reader.name} {i} {Path(name).name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            place.with_name(f"{place.name}.fault.txt").write_text(fault)
    faults = sum(total.faults.values())
    yield f"{tried} spoiled files", f"{total.read} read, {total.refused} refused, {faults} faults", not faults


def _break(reader: Reader, folder: str, count: int, seed: int) -> Outcome:
    return breaker_readers.break_reader(reader, Path(folder), count, seed)


# -------------------------------------------------------------------------------------------------------- bombs


def bombs() -> Iterator[Row]:
    """A row for each bomb."""
    for name, (make, read) in _bombs().items():
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder))
            size = path.stat().st_size
            answer, megabytes, seconds = apart(_refused, read, path, limit_s=60)
        text = f"{size:,} bytes: {answer} ({megabytes} MB, {seconds:.1f} s)"
        yield name, text, str(answer).startswith("refused") and megabytes < MOST_MB


def _refused(read: Callable[[Path], object], path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(path)
        except InputError as error:
            return f"refused: {str(error).replace(str(path), path.name)[:80]}"
        except BaseException as error:
            return f"{type(error).__name__}: {str(error)[:80]}"
    return "read"


def _bombs() -> dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]]:
    def written(name: str, data: bytes) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            (folder / name).write_bytes(data)
            return folder / name

        return make

    def png(folder: Path) -> Path:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        body = zlib.compress(bytes(10 << 20))
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        return written("a.png", data)(folder)

    def gif(folder: Path) -> Path:
        Image.new("P", (12_000, 12_000)).save(folder / "a.gif")
        return folder / "a.gif"

    def npz(folder: Path) -> Path:
        head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (629145600, ), }".ljust(117) + b"\n"
        with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("xyz", "rgb", "nyu40", "instance"):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
                    for _ in range(600):
                        file.write(bytes(8 << 20))
        return folder / "a.npz"

    def packed(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", b"N.")
            archive.writestr("a/data/0", bytes(400 << 20))
        return folder / "a.pt"

    def header(count: str) -> bytes:
        return f"ply\nformat binary_little_endian 1.0\n{count}end_header\n".encode()

    def references(folder: Path) -> Path:
        (folder / "refcoco").mkdir()
        return written("refcoco/refs(unc).p", b"\x80\x02]r\xff\xff\xff\x7f.")(folder)

    def batch(folder: Path) -> Path:
        for name in (*cifar.TRAIN, *cifar.TEST):
            data = b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7fK\x08\x86\x85R."
            (folder / name).write_bytes(data)
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b"]}))
        return folder / "test_batch"

    deep = b'{"images": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    wide = (
        b'{"images": [{"id": 1, "file_name": "a", "height": 99999, "width": 99999}], "categories": [{"id": 1, "name": '
    )
    wide += (
        b'"a"}], "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 99999, 0, 9, 9]]}]}'
    )
    safe = struct.pack("<Q", 1 << 40) + b"{}"
    return {
        "PNG of 3.6 billion pixels": (png, image.read),
        "GIF of 144 million pixels": (gif, image.read),
        "npz that unpacks to 20 GB": (npz, scannet.read),
        "weights that unpack to 400 MB": (packed, pretrained.tensors),
        "safetensors with a header of a terabyte": (written("a.safetensors", safe), pretrained.tensors),
        "checkpoint's header of a terabyte": (written("b.safetensors", safe), checkpoint.read),
        "JSON, half a million levels": (written("instances.json", deep), coco.read),
        "COCO mask of 10 billion pixels": (
            written("instances.json", wide),
            lambda path: coco.load(path).objects[0].mask.read(),  # type: ignore[union-attr]
        ),
        "PLY of 10^14 vertices": (
            written("a.ply", header("element vertex 99999999999999\nproperty float x\n")),
            ply.read,
        ),
        "PLY of -1 faces": (written("a.ply", header("element face -1\nproperty list uchar int v\n")), ply.read),
        "PLY of 20 million empty lists": (
            written("a.ply", header("element face 20000000\nproperty list uchar int v\n") + bytes(20_000_000)), ply.read
        ),
        "pickle with place 2^31 of its memo": (references, lambda p: refcoco.read_published(p)),
        "pickle that asks for an array of 16 GB": (batch, lambda p: cifar.read(p.parent, "test")),
        "MP4 whose head is a gigabyte": (
            written("a.mp4", struct.pack(">I", 1 << 30) + b"moov" + bytes(999)), video.info
        ),
    }  # fmt: skip


# -------------------------------------------------------------------------------------------------------- kills

TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from percepta.systems.distill import PRESETS
from percepta.train import train
config = PRESETS["tiny"]
config = replace(config, train=replace(config.train, steps=60, batch_size=8, checkpoint_every=1, log_every=1))
train("distill", config, out=Path(sys.argv[1]), device="cpu", progress=lambda done, *_: print(done, flush=True))
"""
INDEX = """
import sys
import numpy as np
from percepta.systems.hashing.index import Entry, Writer
with Writer(sys.argv[1], "m", 64) as writer:
    start = len(writer.paths)
    for i in range(start, start + 5000):
        times, codes = np.array([[0, 1]], np.float32), np.full((1, 8), i % 256, np.uint8)
        writer.put(Entry(f"/a/{i:06d}.jpg", "photo", i, i, f"{i:064x}", float(i), times, codes))
        print(i, flush=True)
        if i % 25 == 24:
            writer.compact()
"""
RATE = """
import sys
from pathlib import Path
from percepta.web.rate import RatingSession
session = RatingSession(Path(sys.argv[1]))
left = [name for name in session.files if name not in session.ratings]
for name in left:
    session.rate(name, 4.0)
    print(name, flush=True)
"""


def kills(count: int, seed: int) -> Iterator[Row]:
    """A row for each kind of work that is killed."""
    rng = random.Random(seed)
    for name, work in (("training", _kill_training), ("index", _kill_index), ("ratings", _kill_ratings)):
        with tempfile.TemporaryDirectory() as folder:
            yield f"{name}, {count // 3} kills", *work(Path(folder), count // 3, rng)


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that says what it has done, line by line."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said_before_kill(code: str, folder: Path, rng: random.Random, most: int, most_s: float) -> list[str]:
    """What a process said until it was killed: after some lines, and then some time."""
    said: list[str] = []
    with child(code, str(folder)) as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(rng.randrange(1, most)):
            line = process.stdout.readline()
            if not line:
                break
            said.append(line.strip())
        time.sleep(rng.random() * most_s)
        process.send_signal(signal.SIGKILL)
        said += [line.strip() for line in process.stdout if line.endswith("\n")]
        if not said and (error := process.stderr.read()):
            raise RuntimeError(error)
    return said


def _kill_training(folder: Path, count: int, rng: random.Random) -> tuple[str, bool]:
    subprocess.run([sys.executable, "-c", TRAIN, str(folder / "whole")], check=True, capture_output=True)
    again = 0
    lost = []
    for _ in range(count):
        if not (folder / "killed").exists() or again >= 55:
            again = 0
            folder.joinpath("killed").mkdir(exist_ok=True)
            for path in (folder / "killed").iterdir():
                path.unlink()
        said = said_before_kill(TRAIN, folder / "killed", rng, 4, 0.2)
        state = folder / "killed" / "last.pt"
        reached = int(said[-1]) if said else again
        if state.exists():
            from percepta.runs import read_state

            done = int(read_state(state)["step"])
            if done < reached - 1:
                lost.append(f"step {reached} was said, {done} is there")
            again = done
    subprocess.run([sys.executable, "-c", TRAIN, str(folder / "killed")], check=True, capture_output=True)
    models = [checkpoint.read(folder / name / "model.safetensors")[1] for name in ("whole", "killed")]
    same = all(np.array_equal(models[0][name], models[1][name]) for name in models[0])
    left = [path.name for path in (folder / "killed").iterdir() if path.name.endswith(".tmp")]
    text = f"{len(lost)} states lost; the end is {'the same' if same else 'another'}; {len(left)} files left over"
    return text + "".join(f"\n    {one}" for one in lost), same and not lost and not left


def _kill_index(folder: Path, count: int, rng: random.Random) -> tuple[str, bool]:
    lost, told = 0, 0
    for _ in range(count):
        said = said_before_kill(INDEX, folder / "index", rng, 60, 0.05)
        told = max(told, int(said[-1]) + 1 if said else 0)
        there = [entry.size for entry in Index.open(folder / "index").entries()]
        lost += there[:told] != list(range(told)) or len(there) > told + 1
        told = len(there)
    return f"{told} files were put, {lost} times one was lost", not lost


def _kill_ratings(folder: Path, count: int, rng: random.Random) -> tuple[str, bool]:
    album = folder / "album"
    album.mkdir()
    for i in range(40 * count):
        Image.new("RGB", (4, 4)).save(album / f"{i}.png")
    lost: set[str] = set()
    told: set[str] = set()
    for _ in range(count):
        told |= set(said_before_kill(RATE, album, rng, 25, 0.02))
        lost |= told - read_ratings(album / "ratings.csv", None, breaker_readers.album.STARS).keys()
    with child(RATE, str(album)) as process:
        assert process.stdout is not None
        process.stdout.readline()
    left = list(album.glob(".ratings.csv.*.tmp"))
    return f"{len(told)} ratings were answered, {len(lost)} lost", not lost and len(left) <= 1


# ------------------------------------------------------------------------------------------------------- server

SERVE = """
import sys
from pathlib import Path
from percepta.web.rate import RatingSession, serve
serve(RatingSession(Path(sys.argv[1])), port=0, open_browser=False, on_ready=lambda url: print(url, flush=True))
"""
MARKUP = (
    "<img src=x onerror=alert(1)>.png",
    '"><script>alert(2)<!--.png',
    "';alert(3)--.png",
    "{{7*7}}.png",
    "a&b;.png",
)
SECRET = "the content of a file outside of the album"


def server() -> Iterator[Row]:
    """A row for each attack, and one for what is left of the album."""
    with tempfile.TemporaryDirectory() as folder:
        album = Path(folder) / "album"
        album.mkdir()
        (Path(folder) / "secret.txt").write_text(SECRET)
        for name in ("a.png", *MARKUP):
            Image.new("RGB", (4, 4)).save(album / name)
        (album / "out.png").symlink_to(Path(folder) / "secret.txt")
        with child(SERVE, str(album)) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
            yield from _attacks(port)
            status, body, _ = ask(port, "GET", "/api/state")
            state = json.loads(body)
            good = status == 200 and not state["ratings"] and len(state["pictures"]) == 1 + len(MARKUP)
            yield "afterwards", f"the page answers {status}, {len(state['ratings'])} ratings", good
            rated = [ask(port, "POST", "/api/rate", {"file": name, "score": 3})[0] for name in MARKUP]
            there = read_ratings(album / "ratings.csv", None, breaker_readers.album.STARS)
            good = rated == [200] * len(MARKUP) and set(there) == set(MARKUP)
            yield "names with markup are rated", f"{rated}, {len(there)} in the table", good
            with child(SERVE, str(album)) as other:
                assert other.stderr is not None
                error = other.stderr.read().strip().splitlines()[-1]
            yield "a second server", error[-90:], f"process {process.pid}" in error


def ask(
    port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, str, dict[str, str]]:
    """(status, text, headers) of an answer; a body that is no text is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection):
        data = body if isinstance(body, str | bytes) else json.dumps(body) if body is not None else None
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), dict(answer.getheaders())


def _attacks(port: int) -> Iterator[Row]:
    key = json.loads(ask(port, "GET", "/api/state")[1])["pictures"][0]["key"]
    rate = {"file": "a.png", "score": 3}
    for path in (
        "/../secret.txt", "/picture/../../secret.txt", "/picture/%2e%2e%2f%2e%2e%2fsecret.txt", "/picture//etc/passwd",
        "/picture/..%5c..%5csecret.txt", f"/picture/{key}/../../../secret.txt", "/picture/out.png", "/picture/%00",
        f"/picture/{key}?side=-1", f"/picture/{key}?side=99999999999999999999", "//evil/api/state", "/secret.txt",
    ):  # fmt: skip
        status, body, _ = ask(port, "GET", path)
        yield f"GET {path[:50]}", str(status), 400 <= status < 500 and SECRET not in body and "root:" not in body
    local = f"127.0.0.1:{port}"
    for name, headers in {
        "a foreign Host": {"Host": "evil.example"},
        "Host with another port": {"Host": "127.0.0.1:1"},
        "Host of a rebound name": {"Host": f"evil.example:{port}"},
        "a foreign Origin": {"Origin": "http://evil.example"},
        "Origin null": {"Origin": "null"},
        "Origin with another port": {"Origin": "http://127.0.0.1:1"},
        "another site's request": {"Sec-Fetch-Site": "cross-site"},
        "a form": {"Content-Type": "application/x-www-form-urlencoded"},
        "plain text": {"Content-Type": "text/plain"},
    }.items():
        status, _, _ = ask(port, "POST", "/api/rate", rate, headers)
        yield name, str(status), status in (403, 415)
    for name, body in {
        "65 kB": b" " * ((64 << 10) + 1), "30 MB": b" " * (30 << 20), "no JSON": b"{", "deep JSON": b"[" * 60_000,
        "a number of 60,000 digits": b"9" * 60_000, "another score": b'{"file": "a.png", "score": 1e999}',
        "no file": b'{"file": "../secret.txt", "score": 3}', "a list": b"[]", "not UTF-8": b'"\xff\xfe"',
        "a zero byte": b'{"file": "a\\u0000.png", "score": 3}', "half a character": b'{"file": "\\ud800", "score": 3}',
    }.items():  # fmt: skip
        try:
            status: int | str = ask(port, "POST", "/api/rate", body)[0]
        except (ConnectionError, http.client.HTTPException) as error:  # it hangs up before all of it is sent
            status = type(error).__name__
        yield f"a body of {name}", str(status), not isinstance(status, int) or 400 <= status < 500
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT"):
        status, _, _ = ask(port, method, "/api/rate", rate)
        yield method, str(status), 400 <= status < 500
    for name, data in {
        "a body in pieces": f"POST /api/rate HTTP/1.1\r\nHost: {local}\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n0\r\n\r\n",
        "two lengths": f"POST /api/rate HTTP/1.1\r\nHost: {local}\r\nContent-Length: 4\r\n"
        "Content-Length: 9\r\n\r\nnull",
        "a length of -1": f"POST /api/rate HTTP/1.1\r\nHost: {local}\r\nContent-Length: -1\r\n\r\n",
        "no HTTP": "\0\1\2\3 hello\r\n\r\n",
        "headers of 200 kB": f"GET / HTTP/1.1\r\nHost: {local}\r\nX: {'x' * 200_000}\r\n\r\n",
    }.items():
        yield name, *_raw(port, data.encode("latin1"))
    status, body, headers = ask(port, "GET", "/")
    policy = headers.get("content-security-policy", "")
    good = status == 200 and "'unsafe-inline'" not in policy and "default-src 'none'" in policy
    yield "the page's policy", policy[:60], good and not any(name in body for name in MARKUP)


def _raw(port: int, data: bytes) -> tuple[str, bool]:
    """The first line that comes back for bytes as they are; none is an answer too."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(data)
            line = connection.recv(4096).partition(b"\r\n")[0].decode("latin1")
        except ConnectionError:
            line = ""
    return line or "hung up", not line or line.split()[1][0] == "4"


if __name__ == "__main__":
    sys.exit(main())
