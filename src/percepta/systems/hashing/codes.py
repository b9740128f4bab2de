"""Finds the nearest of many binary codes by Hamming distance.

Everywhere the order is (distance, row): two codes at the same distance come in the order of their rows. So results are
the same whether faiss or NumPy counts, and whether codes lie in one place or in many shards.

    Exact    compares every code. With faiss (`pip install percepta[search]`) a few times faster than with NumPy.
    Shards   the same over several Exact, each in a Ray actor where asked for.
    Lists    compares only the lists of codes that are nearest to the query (an inverted file); needs faiss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8, UInt64

from percepta import scale
from percepta.errors import InputError, MissingExtraError

Engine = Literal["auto", "faiss", "numpy"]
FEW = 100_000  # codes that NumPy has compared before faiss is loaded
_BLOCK = 16_384  # codes at a time: what is worked on stays in a core's cache
_LOW_BYTES, _ONES = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0001000100010001)


class Hits(NamedTuple):
    """The k nearest codes of q queries, by (distance, row)."""

    distances: Int32[np.ndarray, "q k"]
    rows: Int64[np.ndarray, "q k"]


def has_faiss() -> bool:
    """Whether faiss is installed."""
    return find_spec("faiss") is not None


class Exact:
    """Every code is compared with the query.

    Args:
        codes: packed bits, as np.packbits makes them; may be mapped from a file.
        engine: auto takes faiss where it is installed and the codes are many.

    Raises:
        MissingExtraError: faiss is asked for and not installed.
    """

    def __init__(self, codes: UInt8[np.ndarray, "n w"], engine: Engine = "auto") -> None:
        self._count, self._width = codes.shape
        self._faiss: Any = None
        self._words: UInt64[np.ndarray, "n m"] | None = None
        if engine == "faiss" or (engine == "auto" and self._count > FEW and has_faiss()):
            import faiss  # type: ignore[import-not-found]

            self._faiss = faiss.IndexBinaryFlat(8 * self._width)
            self._faiss.add(np.ascontiguousarray(codes))
        else:
            self._words = words(codes)

    def __len__(self) -> int:
        return self._count

    def search(self, queries: UInt8[np.ndarray, "q w"], k: int) -> Hits:
        """The k nearest codes of each query, or all where there are fewer."""
        k = _check(queries, k, self._count, self._width)
        if self._faiss is not None:
            return _by_faiss(self._faiss, queries, k, self._count)
        assert self._words is not None
        return nearest(self._words, queries, k)


class Shards:
    """Several `Exact` that answer like one whose codes are theirs, one after the other.

    Args:
        sources: for each shard a function without arguments that returns its codes, such as a partial of `np.load`.
        actors: each shard lives in a Ray actor of its own, and may lie on another machine; else all of them here.
        engine: see `Exact`.
    """

    def __init__(
        self,
        sources: Sequence[Callable[[], UInt8[np.ndarray, "n w"]]],
        *,
        actors: bool = False,
        engine: Engine = "auto",
    ) -> None:
        if not sources:
            raise InputError("a search over shards needs at least one shard")
        self._workers = scale.Workers(_Shard, [(source, engine) for source in sources], remote=actors)
        self._starts = np.cumsum([0, *self._workers.call("__len__")])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def search(self, queries: UInt8[np.ndarray, "q w"], k: int) -> Hits:
        """As `Exact.search`; rows count through all shards."""
        parts = self._workers.call("search", queries, k)
        return merge(parts, self._starts[:-1], min(k, len(self)))

    def close(self) -> None:
        """Ends the actors."""
        self._workers.close()

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Shard(Exact):
    """Reads its codes where it lives."""

    def __init__(self, source: Callable[[], UInt8[np.ndarray, "n w"]], engine: Engine) -> None:
        super().__init__(source(), engine)


class Lists:
    """Codes in lists around centres; a query is compared with the nearest lists only, and may miss some of its nearest.

    Args:
        codes: packed bits.
        lists: how many; about √n is usual.
        probes: lists that a query is compared with; more find more and take longer.
        rounds: of the clustering (k-majority), on at most 64 codes a list.
        seed: of the choice of the first centres.

    Raises:
        MissingExtraError: faiss is not installed.
    """

    def __init__(
        self, codes: UInt8[np.ndarray, "n w"], lists: int, *, probes: int = 32, rounds: int = 8, seed: int = 0
    ) -> None:
        if not 1 <= lists <= len(codes):
            raise InputError(f"{len(codes)} codes cannot be put into {lists} lists")
        faiss = _need_faiss()
        self._count, self._width = codes.shape
        self._quantizer = faiss.IndexBinaryFlat(8 * self._width)
        self._quantizer.add(_centres(codes, lists, rounds, seed))
        self._lists = faiss.IndexBinaryIVF(self._quantizer, 8 * self._width, lists)
        self._lists.is_trained = True
        self._lists.add(np.ascontiguousarray(codes))
        self.probes = probes

    @classmethod
    def read(cls, path: Path, probes: int = 32) -> Lists:
        """From a file that `write` made."""
        made = cls.__new__(cls)
        made._lists = _need_faiss().read_index_binary(str(path))
        made._quantizer, made.probes = None, probes
        made._count, made._width = made._lists.ntotal, made._lists.code_size
        return made

    def write(self, path: Path) -> None:
        """Into one file."""
        _need_faiss().write_index_binary(self._lists, str(path))

    def __len__(self) -> int:
        return self._count

    def search(self, queries: UInt8[np.ndarray, "q w"], k: int) -> Hits:
        """The k nearest that are found, by (distance, row). Where fewer are found, the last have row -1."""
        k = _check(queries, k, self._count, self._width)
        self._lists.nprobe = self.probes
        return _by_faiss(self._lists, queries, k, self._count)


def nearest(rows: UInt64[np.ndarray, "n m"], queries: UInt8[np.ndarray, "q w"], k: int) -> Hits:
    """The k nearest by NumPy alone; `rows` as `words` makes them.

    Args:
        rows: the codes, as `words` makes them.
        queries: codes, eight bits a byte.
        k: how many for each query.
    """
    distances, found = np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.int64)
    for index, query in enumerate(words(queries)):
        apart = hamming(rows, query)
        # Counting finds the k-th distance in one pass; sorting is for the few that are no farther.
        counts = np.bincount(apart, minlength=1)
        last = int(np.searchsorted(np.cumsum(counts), k))
        some = np.flatnonzero(apart <= last)
        order = np.argsort(apart[some], kind="stable")[:k]
        found[index], distances[index] = some[order], apart[some[order]]
    return Hits(distances, found)


def hamming(rows: UInt64[np.ndarray, "n m"], query: UInt64[np.ndarray, " m"]) -> Int32[np.ndarray, " n"]:
    """The number of differing bits of every row and the query."""
    out = np.empty(len(rows), np.int32)
    for start in range(0, len(rows), _BLOCK):
        counts = np.bitwise_count(rows[start : start + _BLOCK] ^ query)
        out[start : start + _BLOCK] = _sums(counts)
    return out


def _sums(counts: UInt8[np.ndarray, "n m"]) -> Int64[np.ndarray, " n"]:
    """Row sums of numbers up to 64; eight at a time are added inside one 64-bit word, which NumPy does fast."""
    if counts.shape[1] % 8:
        total = counts[:, 0].astype(np.int64)
        for column in range(1, counts.shape[1]):
            total += counts[:, column]
        return total
    packed = counts.view(np.uint64)
    pairs = (packed & _LOW_BYTES) + ((packed >> np.uint64(8)) & _LOW_BYTES)
    sums = ((pairs * _ONES) >> np.uint64(48)).astype(np.int64)
    return sums[:, 0] if sums.shape[1] == 1 else sums.sum(1)


def words(codes: UInt8[np.ndarray, "n w"]) -> UInt64[np.ndarray, "n m"]:
    """Codes as 64-bit words, filled up with zeros where their length asks for it."""
    codes = np.ascontiguousarray(codes)
    surplus = -codes.shape[1] % 8
    if surplus:
        codes = np.pad(codes, ((0, 0), (0, surplus)))
    return codes.view(np.uint64)


def merge(parts: Sequence[Hits], starts: Sequence[int] | Int64[np.ndarray, " s"], k: int) -> Hits:
    """The k best of what several shards found; `starts` says where each shard's rows begin.

    Args:
        parts: what each shard found.
        starts: number of each shard's first row.
        k: how many for each query.
    """
    distances = np.concatenate([part.distances for part in parts], 1)
    rows = np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=True)], 1)
    order = np.lexsort((rows, distances), axis=1)[:, :k]
    return Hits(np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1))


def _by_faiss(index: Any, queries: UInt8[np.ndarray, "q w"], k: int, count: int) -> Hits:
    """faiss leaves open which of equally distant codes it returns: ask for more, and for all where that is too few."""
    if not k:
        return Hits(np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), np.int64))
    queries = np.ascontiguousarray(queries)
    asked = min(2 * k + 16, count)
    distances, rows = index.search(queries, asked)
    distances = np.where(rows < 0, np.iinfo(np.int32).max, distances).astype(np.int32)
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), distances), axis=1)
    distances, rows = np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)
    out = Hits(distances[:, :k].copy(), rows[:, :k].astype(np.int64))
    if asked < count:
        for row in np.flatnonzero((distances[:, k - 1] == distances[:, -1]) & (rows[:, -1] >= 0)):
            limits, far, ids = index.range_search(queries[row : row + 1], int(distances[row, k - 1]) + 1)
            far, ids = far[: limits[1]].astype(np.int32), ids[: limits[1]]
            first = np.lexsort((ids, far))[:k]
            out.distances[row], out.rows[row] = far[first], ids[first]
    return out


def _centres(codes: UInt8[np.ndarray, "n w"], lists: int, rounds: int, seed: int) -> UInt8[np.ndarray, "l w"]:
    """k-majority clustering: a centre's bit is what most codes of its list have."""
    faiss = _need_faiss()
    rng = np.random.default_rng(seed)
    some = codes[np.sort(rng.permutation(len(codes))[: 64 * lists])]
    centres = some[rng.permutation(len(some))[:lists]]
    signs = np.unpackbits(some, axis=1).astype(np.int8) * 2 - 1
    for _ in range(rounds):
        flat = faiss.IndexBinaryFlat(8 * codes.shape[1])
        flat.add(np.ascontiguousarray(centres))
        own = flat.search(np.ascontiguousarray(some), 1)[1][:, 0]
        order = np.argsort(own, kind="stable")
        held, first = np.unique(own[order], return_index=True)
        votes = np.add.reduceat(signs[order], first, axis=0, dtype=np.int32)
        centres = some[rng.permutation(len(some))[:lists]]  # a list that nothing is nearest to begins anew
        centres[held] = np.packbits(votes > 0, axis=1)
    return centres


def _check(queries: UInt8[np.ndarray, "q w"], k: int, count: int, width: int) -> int:
    if queries.ndim != 2 or queries.shape[1] != width or queries.dtype != np.uint8:
        raise InputError(f"codes here have {8 * width} bits, q {width} of uint8; got {queries.dtype} {queries.shape}")
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    return min(k, count)


def _need_faiss() -> Any:
    if not has_faiss():
        raise MissingExtraError("a search by lists needs faiss: pip install 'percepta[search]'")
    import faiss  # type: ignore[import-not-found]

    return faiss
