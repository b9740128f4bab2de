"""Finer names of what is marked in training pictures, by a classifier that knows a thousand.

The sets that refer is trained on name about 150 classes; people use other words, and a word that was never trained is
taken for something that is not there. EfficientNet-Lite0 looks at every marked thing and at the whole picture: what it
is sure of becomes one more sentence that is true, and names that it gives next to no probability anywhere in the
picture become sentences of the same form that are not. `percepta refer names` writes both into a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from percepta.datasets.scene import Scene
from percepta.errors import InputError
from percepta.files import write_atomically
from percepta.formats import field, read_json
from percepta.media import image as pictures
from percepta.systems.refer.model import GREY

SIDE = 224  # of what the classifier sees
SURE = 0.5  # least probability of a name that is taken
AGREED = 3  # the name is among the best so many when the thing is seen without its surroundings
RANK = 60  # a name among the best so many of any look at a picture may be there
ELSEWHERE = 120  # names kept of those that are not
MOST = 3  # things of a picture that are looked at, the largest
LEAST = 48  # pixels, the shorter side of a thing that is looked at


def key(scene: Scene) -> str:
    """What a picture is called in the file: its name and the two folders above it."""
    return "/".join(scene.image.parts[-3:])


def named(found: Sequence[Scene], path: Path) -> list[Scene]:
    """The scenes with the finer names of a file; those that it does not know stay as they are.

    Args:
        found: the scenes.
        path: what `write` wrote.

    Raises:
        MissingFileError, InputError: no such file, or one of another form.
    """
    table = read_json(path)
    if not isinstance(table, dict):
        raise InputError(f"{path}: expected {{picture: {{things, elsewhere}}}}, as `percepta refer names` writes it")
    out = []
    for scene in found:
        entry = table.get(key(scene))
        if entry is None:
            out.append(scene)
            continue
        things = field(entry, "things", list, f"{path}: {key(scene)}")
        elsewhere = field(entry, "elsewhere", list, f"{path}: {key(scene)}")
        if len(things) != len(scene.regions):
            raise InputError(
                f"{path}: {key(scene)} has {len(things)} things, the data {len(scene.regions)}; write it anew"
            )
        regions = tuple(replace(r, finer=(n,) if n else ()) for r, n in zip(scene.regions, things, strict=True))
        out.append(replace(scene, regions=regions, elsewhere=tuple(elsewhere)))
    return out


@torch.inference_mode()
def write(
    path: Path,
    found: Sequence[Scene],
    classify: Callable[[Float[Tensor, "b 3 s s"]], Float[Tensor, "b k"]],
    names: Sequence[str],
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Looks at every picture once and writes the file.

    A thing counts where it is the only one of its class that is marked, or all of them; names of two meanings, which
    have brackets behind them, are left out.

    Args:
        path: of the file.
        found: the scenes; a picture that stands there twice is looked at once.
        classify: pictures 0..1 to logits.
        names: of the classes.
        tell: is told how many pictures are done, of how many.
    """
    plain = ["" if "(" in name else name.lower() for name in names]
    scenes = {key(scene): scene for scene in found}
    looks = {}
    for done, (name, scene) in enumerate(scenes.items(), 1):
        places, views = zip(*_views(scene), strict=True)
        probability = classify(torch.stack(views)).softmax(1).cpu().numpy()
        looks[name] = places, probability
        tell(done, len(scenes))
    told = {name: _told(len(scenes[name].regions), places, some, plain) for name, (places, some) in looks.items()}
    used = sorted({one for things in told.values() for one in things} - {""})
    out = {}
    for name, (_, some) in looks.items():
        things = told[name]
        doubtful = {plain[i] for p in some for i in np.argsort(-p)[:RANK].tolist()}
        rng = np.random.default_rng(len(out))
        absent = [n for n in rng.permutation(np.array(used)).tolist() if n not in doubtful][:ELSEWHERE]
        out[name] = {"things": things, "elsewhere": absent}
    return write_atomically(path, json.dumps(out) + "\n")


def _told(count: int, places: Sequence[int], looks: Float[np.ndarray, "v k"], names: Sequence[str]) -> list[str]:
    """The name of each thing of a picture, "" where the looks are not sure or do not agree.

    Args:
        count: of things.
        places: of the things that were looked at, each twice in a row: in its surroundings and without them; -1: all of
            the picture.
        looks: probabilities of each look.
        names: of the classes.
    """
    out = [""] * count
    for row, place in enumerate(places):
        if place >= 0 and row + 1 < len(places) and places[row + 1] == place:
            best = int(looks[row].argmax())
            if looks[row, best] >= SURE and best in np.argsort(-looks[row + 1])[:AGREED]:
                out[place] = names[best]
    return out


def _views(scene: Scene) -> Iterator[tuple[int, Float[Tensor, "3 s s"]]]:
    """(place of the region, the square around it) of the things that count, then the same without what is around it;
    (-1, the whole picture) before them. Alone a thing has no hockey rink that says what it is."""
    picture = pictures.read(scene.image)
    yield -1, pictures.resize(picture, SIDE, SIDE)
    height, width = picture.shape[1:]
    count = [r.name for r in scene.regions]
    masks = {
        place: region.mask.read()
        for place, region in enumerate(scene.regions)
        if region.every or not region.name or count.count(region.name) == 1
    }
    for place in sorted(masks, key=lambda place: -masks[place].mean())[:MOST]:
        mask = masks[place]
        box = _square(mask, height, width)
        if box is not None:
            top, left, bottom, right = box
            yield place, pictures.resize(picture[:, top:bottom, left:right], SIDE, SIDE)
            whole = torch.from_numpy(mask)[None].float()
            inside = pictures.resize(whole, height, width)[:, top:bottom, left:right] > 0.5
            alone = torch.where(inside, picture[:, top:bottom, left:right], torch.tensor(GREY / 255))
            yield place, pictures.resize(alone, SIDE, SIDE)


def _square(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> tuple[int, int, int, int] | None:
    """A square around a mask, a tenth larger than it, inside of the picture; None for what is too small."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    down, across = height / mask.shape[0], width / mask.shape[1]
    top, bottom = rows[0] * down, (rows[-1] + 1) * down
    left, right = columns[0] * across, (columns[-1] + 1) * across
    if min(bottom - top, right - left) < LEAST:
        return None
    half = 0.55 * max(bottom - top, right - left)
    y, x = (top + bottom) / 2, (left + right) / 2
    return max(0, int(y - half)), max(0, int(x - half)), min(height, int(y + half) + 1), min(width, int(x + half) + 1)
