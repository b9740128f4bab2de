"""Search spaces: which codes there are, which of them are one network, and what a network costs.

`Macro` is the chain of NAS-Bench-Macro (Su et al., CVPR 2021): one digit a layer. `ResNet48` is the space of the CVPR
2022 lightweight NAS challenge: 52 characters that give depths and widths. Both count parameters and multiply-adds in
closed form, so that tens of thousands of codes are counted in a second; nothing here needs torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from percepta.errors import InputError

# Kernel and expansion of a choice; None is the identity (NAS-Bench-Macro's digits 0, 1, 2).
OPS: tuple[tuple[int, int] | None, ...] = (None, (3, 3), (5, 6))
IDENTITY = "0"


class CodeError(InputError):
    """A code that is no network of the space; the message names the character."""


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: how many numbers are learned, norms included.
        flops: multiply-adds of convolutions and linear layers for one picture, the benchmark's count.
    """

    parameters: int
    flops: int


@dataclass(frozen=True)
class Layer:
    """A place in the chain.

    Attributes:
        c_in: channels in.
        c_out: channels out.
        stride: 1 or 2.
        side: of the map that comes in.
    """

    c_in: int
    c_out: int
    stride: int
    side: int

    @property
    def first(self) -> bool:
        """Whether its identity has to be a convolution, as the shape changes."""
        return self.stride > 1 or self.c_in != self.c_out


@dataclass(frozen=True)
class Macro:
    """Chains of MobileNetV2 blocks: a digit 0 (identity), 1 (kernel 3, expansion 3) or 2 (5, 6) for each layer.

    The first layer of a stage halves the map and doubles the channels; its identity is a 1×1 convolution of stride 2.
    The defaults are NAS-Bench-Macro's network.
    """

    stages: tuple[int, ...] = (2, 3, 3)
    stem: int = 32
    head: int = 1280
    side: int = 32
    classes: int = 10

    @property
    def length(self) -> int:
        """Characters of a code."""
        return sum(self.stages)

    @property
    def layers(self) -> tuple[Layer, ...]:
        found, channels, side = [], self.stem, self.side
        for depth in self.stages:
            for place in range(depth):
                stride = 2 if place == 0 else 1
                found.append(Layer(channels, channels * stride, stride, side))
                channels, side = channels * stride, -(-side // stride)
        return tuple(found)

    @property
    def width(self) -> int:
        """Channels after the last layer."""
        return self.stem * 2 ** len(self.stages)

    def validate(self, code: str) -> str:
        """The code itself.

        Raises:
            CodeError: another length, or a character that is none of 0, 1, 2: names it and its place.
        """
        if len(code) != self.length:
            raise CodeError(f"{code!r}: a code of this space has {self.length} characters, this one {len(code)}")
        for place, character in enumerate(code):
            if character not in "012":
                raise CodeError(f"{code!r}: character {place + 1} is {character!r}; a layer is 0, 1 or 2")
        return code

    def codes(self) -> list[str]:
        """All codes, sorted."""
        return ["".join(digits) for digits in itertools.product("012", repeat=self.length)]

    def canonical(self, code: str) -> str:
        """The code with which all codes of the same network are named: identities at the end of their stage, as an
        identity behind the first layer of a stage does nothing."""
        parts, start = [], 0
        for depth in self.stages:
            first, rest = code[start], code[start + 1 : start + depth]
            parts.append(first + rest.replace(IDENTITY, "").ljust(depth - 1, IDENTITY))
            start += depth
        return "".join(parts)

    def distinct(self) -> list[str]:
        """The canonical codes, sorted: 3,969 networks in NAS-Bench-Macro's space."""
        return [code for code in self.codes() if self.canonical(code) == code]

    def sample(self, rng: np.random.Generator, opened: float = 1.0) -> str:
        """A code, each with the same chance; while less than all (1.0) is opened, of large choices only."""
        return "".join(map(str, rng.integers(len(OPS) - 1 - int((len(OPS) - 1) * opened), len(OPS), self.length)))

    def fair(self, rng: np.random.Generator) -> list[str]:
        """Codes that use every choice of every layer exactly once (FairNAS's strict fairness)."""
        columns = np.stack([rng.permutation(len(OPS)) for _ in range(self.length)], 1)
        return ["".join(map(str, row)) for row in columns]

    def largest(self) -> str:
        return "2" * self.length

    def smallest(self) -> str:
        return IDENTITY * self.length

    def blocks(self, code: str) -> int:
        """How many layers are no identity: the simplest guess at how good a network is."""
        return len(code) - code.count(IDENTITY)

    def cost(self, code: str) -> Cost:
        """Parameters and multiply-adds, in closed form."""
        parameters, flops = self._ends()
        for layer, digit in zip(self.layers, code, strict=True):
            more = _block_cost(layer, OPS[int(digit)])
            parameters, flops = parameters + more.parameters, flops + more.flops
        return Cost(parameters, flops)

    def costs(self, codes: Sequence[str]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Parameters and multiply-adds of many codes."""
        digits = self.digits(codes)
        table = [[_block_cost(layer, op) for op in OPS] for layer in self.layers]
        place = np.arange(self.length)
        parameters = np.array([[entry.parameters for entry in row] for row in table])[place, digits].sum(1)
        flops = np.array([[entry.flops for entry in row] for row in table])[place, digits].sum(1)
        ends = self._ends()
        return parameters + ends[0], flops + ends[1]

    def digits(self, codes: Sequence[str]) -> Int64[np.ndarray, "n length"]:
        return np.array([[int(character) for character in code] for code in codes], np.int64).reshape(-1, self.length)

    def features(self, codes: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """What a predictor is told: which choice each layer has, which choices neighbours have together, how many of
        each there are in a stage and in all; canonical codes, so that one network is one row."""
        digits = self.digits([self.canonical(code) for code in codes])
        one_hot = (digits[:, :, None] == np.arange(1, len(OPS))).astype(np.float64)  # n length 2
        pairs = one_hot[:, :-1, :, None] * one_hot[:, 1:, None, :]
        ends = np.cumsum(self.stages)
        counts = [one_hot[:, end - depth : end].sum(1) for depth, end in zip(self.stages, ends, strict=True)]
        total = one_hot.sum((1, 2))[:, None] / self.length
        rows = [one_hot, pairs, *counts, total, total**2]
        return np.concatenate([row.reshape(len(digits), -1) for row in rows], 1)

    def neighbours(self, code: str) -> Iterator[str]:
        """Codes that differ in one layer."""
        for place, digit in itertools.product(range(self.length), "012"):
            if code[place] != digit:
                yield code[:place] + digit + code[place + 1 :]

    def distance(self, a: str, b: str) -> float:
        """Share of the layers that differ."""
        return sum(x != y for x, y in zip(a, b, strict=True)) / self.length

    def _ends(self) -> tuple[int, int]:
        """Parameters and multiply-adds of stem, head and the last linear layer."""
        stem = 27 * self.stem
        head, linear = self.width * self.head, self.head * self.classes
        last = self.layers[-1]
        side = -(-last.side // last.stride)
        parameters = stem + 2 * self.stem + head + 2 * self.head + linear + self.classes
        return parameters, stem * self.side**2 + head * side**2 + linear


def _block_cost(layer: Layer, op: tuple[int, int] | None) -> Cost:
    out = (-(-layer.side // layer.stride)) ** 2
    if op is None:
        weights = layer.c_in * layer.c_out if layer.first else 0
        return Cost(weights + (2 * layer.c_out if layer.first else 0), weights * out)
    kernel, expansion = op
    inner = layer.c_in * expansion
    expand, depthwise, project = layer.c_in * inner, kernel**2 * inner, inner * layer.c_out
    norms = 4 * inner + 2 * layer.c_out
    return Cost(expand + depthwise + project + norms, expand * layer.side**2 + (depthwise + project) * out)


# ------------------------------------------------------------------------------------------------- ResNet48

RATIOS = {str(i + 1): 1.0 - 0.05 * i for i in range(7)}  # width codes of the challenge
ABSENT = "0"


@dataclass(frozen=True)
class ResNet48:
    """The challenge's space: residual networks of basic blocks with four depths and a width for every convolution.

    A code has 52 characters: picture size ("1" is 224 pixels), the four depths, the stem's width, then two widths for
    each of the 5 + 5 + 8 + 5 places of blocks, "00" where there is none. A width code 1 … 7 keeps 1.00, 0.95 … 0.70 of
    the stage's channels, brought to a multiple of 8. The second convolutions of a stage's blocks add to one residual
    stream and share one code. A first block has a 1×1 convolution as its shortcut where stride or width change.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    slots: tuple[int, ...] = (5, 5, 8, 5)
    codes_per_stage: tuple[int, ...] = (3, 3, 5, 7)
    side: int = 224
    classes: int = 1000
    least: int = 2

    @property
    def length(self) -> int:
        """Characters of a code."""
        return 2 + len(self.slots) + 2 * sum(self.slots)

    def width(self, stage: int, code: str) -> int:
        """Channels: the stage's, times the ratio, brought to the nearest multiple of 8."""
        return max(8, int(self.channels[stage] * RATIOS[code] + 4) // 8 * 8)

    def starts(self) -> list[int]:
        """Where the block codes of each stage begin."""
        first = 2 + len(self.slots)
        return [first + 2 * sum(self.slots[:stage]) for stage in range(len(self.slots))]

    def depths(self, code: str) -> list[int]:
        return [int(character) for character in code[1 : 1 + len(self.slots)]]

    def validate(self, code: str) -> str:
        """The code itself.

        Raises:
            CodeError: another length, a depth out of range, a width code that the stage does not have, a block that
                should not be there or is missing, second convolutions that differ within a stage: names the character.
        """
        if len(code) != self.length:
            raise CodeError(f"{code!r}: a code of this space has {self.length} characters, this one {len(code)}")
        if code[0] != "1":
            raise _wrong(code, 0, 'the picture size is "1" (224 pixels)')
        for stage, most in enumerate(self.slots):
            self._digit(code, 1 + stage, [str(d) for d in range(self.least, most + 1)], f"depth of stage {stage + 1}")
        self._digit(code, 1 + len(self.slots), self._codes(0), "the stem's width")
        for stage, (start, depth) in enumerate(zip(self.starts(), self.depths(code), strict=True)):
            self._stage(code, stage, start, depth)
        return code

    def _stage(self, code: str, stage: int, start: int, depth: int) -> None:
        shared = code[start + 1]
        for place in range(start, start + 2 * self.slots[stage]):
            block = (place - start) // 2
            what = f"block {block + 1} of stage {stage + 1}"
            if block >= depth:
                if code[place] != ABSENT:
                    raise _wrong(code, place, f"{what} is beyond the stage's depth {depth} and has to be 0")
                continue
            self._digit(code, place, self._codes(stage), f"a width of {what}")
            if (place - start) % 2 and code[place] != shared:
                raise _wrong(code, place, f"the second widths of stage {stage + 1} are one: {shared} as in its block 1")

    def _codes(self, stage: int) -> list[str]:
        return [str(i + 1) for i in range(self.codes_per_stage[stage])]

    def _digit(self, code: str, place: int, allowed: Sequence[str], what: str) -> None:
        if code[place] not in allowed:
            raise _wrong(code, place, f"{what} is one of {', '.join(allowed)}")

    def sample(self, rng: np.random.Generator, opened: float = 1.0) -> str:
        """A code: depths and widths each uniformly; while less than all (1.0) is opened, of deep and wide ones only."""
        least = [most - int((most - self.least) * opened) for most in self.slots]
        widths = [1 + int((count - 1) * opened) for count in self.codes_per_stage]
        depths = [int(rng.integers(low, most + 1)) for low, most in zip(least, self.slots, strict=True)]
        shared = [str(rng.integers(1, count + 1)) for count in widths]
        stages = []
        for stage, depth in enumerate(depths):
            inner = rng.integers(1, widths[stage] + 1, depth)
            text = "".join(f"{code}{shared[stage]}" for code in inner)
            stages.append(text.ljust(2 * self.slots[stage], ABSENT))
        # The published codes give the stem the width of the first stage's residual stream.
        return "1" + "".join(map(str, depths)) + shared[0] + "".join(stages)

    def largest(self) -> str:
        return "1" + "".join(map(str, self.slots)) + "1" * (1 + 2 * sum(self.slots))

    def smallest(self) -> str:
        last = [str(count) for count in self.codes_per_stage]
        stages = [(last[stage] * 2 * self.least).ljust(2 * slots, ABSENT) for stage, slots in enumerate(self.slots)]
        return "1" + str(self.least) * len(self.slots) + last[0] + "".join(stages)

    def canonical(self, code: str) -> str:
        """The code itself: no two codes are one network."""
        return code

    def blocks(self, code: str) -> int:
        return sum(self.depths(code))

    def cost(self, code: str) -> Cost:
        """Parameters and multiply-adds of convolutions and the linear layer, in closed form."""
        width, side = self.width(0, code[1 + len(self.slots)]), -(-self.side // 2)
        parameters, flops = 147 * width + 2 * width, 147 * width * side**2
        side = -(-side // 2)  # max-pool
        for stage, (start, depth) in enumerate(zip(self.starts(), self.depths(code), strict=True)):
            out = self.width(stage, code[start + 1])
            for block in range(depth):
                inner = self.width(stage, code[start + 2 * block])
                stride = 2 if stage and not block else 1
                side = -(-side // stride)
                weights = 9 * width * inner + 9 * inner * out
                norms = 2 * inner + 2 * out
                if stride > 1 or width != out:
                    weights, norms = weights + width * out, norms + 2 * out
                parameters, flops = parameters + weights + norms, flops + weights * side**2
                width = out
        return Cost(parameters + (width + 1) * self.classes, flops + width * self.classes)

    def costs(self, codes: Sequence[str]) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Parameters and multiply-adds of many codes."""
        found = [self.cost(code) for code in codes]
        return np.array([c.parameters for c in found], np.int64), np.array([c.flops for c in found], np.int64)

    def features(self, codes: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """What a predictor is told: the depths one-hot, each place's ratio (0 where there is no block), the mean ratio
        of each stage, and the logarithms of parameters and multiply-adds."""
        text = np.array([list(code) for code in codes])
        ratio = np.vectorize(lambda c: RATIOS.get(c, 0.0), otypes=[float])(text[:, 1 + len(self.slots) :])
        depth = text[:, 1 : 1 + len(self.slots)].astype(int)
        rows = [depth[:, [s]] == np.arange(self.least + 1, most + 1) for s, most in enumerate(self.slots)]
        first = 1 + len(self.slots)
        for start, slots, column in zip(self.starts(), self.slots, depth.T, strict=True):
            part = ratio[:, start - first : start - first + 2 * slots]
            rows += [part[:, 1:2], part[:, 0::2], (part[:, 0::2].sum(1) / column)[:, None]]
        parameters, flops = self.costs(codes)
        rows += [np.log(parameters)[:, None], np.log(flops)[:, None], (depth.sum(1) / sum(self.slots))[:, None]]
        return np.concatenate([np.asarray(row, np.float64) for row in rows], 1)

    def distance(self, a: str, b: str) -> float:
        """Mean absolute difference of the characters, an absent block counting as 9 (the second team's measure)."""
        x, y = (np.array([9 if c == ABSENT else int(c) for c in code[1:]]) for code in (a, b))
        return float(np.abs(x - y).mean())

    def neighbours(self, code: str) -> Iterator[str]:
        """Codes with one depth or one (shared) width changed."""
        for stage, (start, depth) in enumerate(zip(self.starts(), self.depths(code), strict=True)):
            end = start + 2 * self.slots[stage]
            shared, inner = code[start + 1], code[start : start + 2 * depth : 2]
            for other in range(self.least, self.slots[stage] + 1):
                if other != depth:
                    more = (inner + inner[-1] * other)[:other]
                    text = "".join(c + shared for c in more).ljust(end - start, ABSENT)
                    yield code[: 1 + stage] + str(other) + code[2 + stage : start] + text + code[end:]
            for width in self._codes(stage):
                for block in range(depth):
                    if inner[block] != width:
                        place = start + 2 * block
                        yield code[:place] + width + code[place + 1 :]
                if width != shared:
                    text = "".join(c + width for c in inner).ljust(end - start, ABSENT)
                    stem = width if stage == 0 else code[5]
                    yield code[: 1 + len(self.slots)] + stem + code[2 + len(self.slots) : start] + text + code[end:]


def _wrong(code: str, place: int, expected: str) -> CodeError:
    return CodeError(f"{code!r}: character {place + 1} is {code[place]!r}; {expected}")


Space = Macro | ResNet48
