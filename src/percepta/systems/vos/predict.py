"""Objects followed through a video: sessions frame by frame, whole videos in both directions, and their answers."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from percepta.contract import Evaluate, weights_hash
from percepta.datasets.videos import VOID, palette
from percepta.errors import InputError, InputTypeError
from percepta.files import check_regular, write_atomically
from percepta.media import draw
from percepta.media import image as pictures
from percepta.media import video as videos
from percepta.media.draw import Shown
from percepta.media.image import Source
from percepta.metrics.masks import coco_rle_encode
from percepta.systems.vos import MAX_OBJECTS, Config
from percepta.systems.vos.follow import Answer, Follower, resized
from percepta.systems.vos.model import follower, size_inside

Mask: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor
"""A label map (0: nothing, 1 to 254: ids, 255: not known; black and white alone mark object 1) or a Boolean mask."""
Masks: TypeAlias = Mask | Mapping[int, Mask]
"""A label map, or {id: mask}."""

UNDO = 10  # steps that can be taken back
NEAR = 0.02  # by so much a side may differ from the video's, and is then brought to it
FORMAT = 1  # of saved sessions


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """What one frame gave.

    Attributes:
        frame: its number, from 0.
        labels: id of the object in each pixel, 0 for none.
        ids: of all objects that are followed.
        scores: of each object: how sure the network is that it is in sight, 0..1.
        lost: objects that are followed but not in sight: no pixel is theirs, or the score is below 0.5.
        given: objects whose masks were given with this frame.
        cut: whether another scene begins here.
        warnings: what is odd about the frame.
        maps: probabilities of background and objects, in the order of `ids`, at the size that the network saw.
        picture: the frame, RGB.
        weights: hash of the weights that answered.
    """

    frame: int
    labels: UInt8[np.ndarray, "h w"]
    ids: tuple[int, ...]
    scores: dict[int, float]
    lost: tuple[int, ...]
    given: tuple[int, ...]
    cut: bool
    warnings: tuple[str, ...]
    maps: Float[np.ndarray, "n1 a b"]
    picture: UInt8[np.ndarray, "h w 3"]
    weights: str = ""

    @property
    def text(self) -> str:
        """The answer in words: "frame 5: object 1 98%, object 2 lost"."""
        parts = [f"object {one} " + ("lost" if one in self.lost else f"{self.scores[one]:.0%}") for one in self.ids]
        more = f", and {len(parts) - 8} more objects" if len(parts) > 8 else ""
        return f"frame {self.frame}{', a cut' if self.cut else ''}: {', '.join(parts[:8]) or 'no objects'}{more}"

    @property
    def probabilities(self) -> Float[np.ndarray, "n1 h w"]:
        """The maps at the frame's size."""
        return resized(torch.from_numpy(self.maps), *self.labels.shape).numpy()

    def mask(self, one: int) -> Bool[np.ndarray, "h w"]:
        """Where an object is."""
        return self.labels == one

    def draw(self) -> Image.Image:
        """The frame with all objects on it."""
        return drawn(self.picture, self.labels, self.ids)

    def save(self, path: Path | str) -> Path:
        """The label map as an indexed PNG, and beside it a JSON with scores and masks as COCO run lengths."""
        path = Path(path).with_suffix(".png")
        write_atomically(path.with_suffix(".json"), json.dumps(self.to_dict()) + "\n")
        return write_atomically(path, packed(self.labels))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers; masks as COCO run lengths."""
        return {
            "frame": self.frame,
            "objects": [
                {
                    "id": one,
                    "score": round(self.scores[one], 4),
                    "lost": one in self.lost,
                    "segmentation": coco_rle_encode(self.labels == one),
                }
                for one in self.ids
            ],
            "cut": self.cut,
            "warnings": list(self.warnings),
            "weights": self.weights,
        }


@dataclass(frozen=True, repr=False)
class Track(Shown):
    """A whole video.

    Attributes:
        frames: numbers of the frames, from the first with an object on.
        ids: of all objects that were followed in some frame.
        scores: of each frame and object; NaN where an object was not followed.
        cuts: frames with which another scene begins.
        warnings: what is odd, each with its frame.
        pngs: the label map of each frame as an indexed PNG: a hundredth of its size.
        weights: hash of the weights that answered.
    """

    frames: tuple[int, ...]
    ids: tuple[int, ...]
    scores: Float[np.ndarray, "t n"]
    cuts: tuple[int, ...]
    warnings: tuple[str, ...]
    pngs: tuple[bytes, ...]
    weights: str = ""

    @property
    def text(self) -> str:
        """The answer in words: "80 frames: object 1 always in sight, object 2 lost in 12"."""
        lost = {one: int((self.scores[:, i] < 0.5).sum()) for i, one in enumerate(self.ids)}
        parts = [f"object {one} " + (f"lost in {n}" if n else "always in sight") for one, n in lost.items()]
        more = f", and {len(parts) - 8} more objects" if len(parts) > 8 else ""
        return f"{len(self.frames)} frames: {', '.join(parts[:8])}{more}"

    def labels(self, place: int) -> UInt8[np.ndarray, "h w"]:
        """The label map of `frames[place]`."""
        return np.array(Image.open(io.BytesIO(self.pngs[place])))

    def draw(self) -> Image.Image:
        """Up to twelve label maps, evenly spread."""
        chosen = np.unique(np.linspace(0, len(self.frames) - 1, min(12, len(self.frames))).round().astype(int))
        maps = [Image.open(io.BytesIO(self.pngs[place])).convert("RGB") for place in chosen]
        return draw.sheet(maps, captions=[f"frame {self.frames[place]}" for place in chosen])

    def save(self, path: Path | str) -> Path:
        """The drawing, beside it the numbers as JSON, and a folder of the same name with an indexed PNG a frame."""
        path = Path(path)
        folder = path.with_suffix("")
        for frame, content in zip(self.frames, self.pngs, strict=True):
            write_atomically(folder / f"{frame:05d}.png", content)
        return draw.write_picture(path, self.draw(), self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: a score for each frame and object, and masks as COCO run lengths."""
        rows = []
        for place, frame in enumerate(self.frames):
            labels, objects = self.labels(place), []
            for i, one in enumerate(self.ids):
                if np.isfinite(self.scores[place, i]):
                    mask, score = coco_rle_encode(labels == one), round(float(self.scores[place, i]), 4)
                    objects.append({"id": one, "score": score, "segmentation": mask})
            rows.append({"frame": frame, "objects": objects})
        return {"frames": rows, "cuts": list(self.cuts), "warnings": list(self.warnings), "weights": self.weights}


@dataclass
class Session:
    """A video that is followed frame by frame: `step` takes each frame, and masks with any of them.

    What is kept does not grow with the video: see `memory.Memory`. A step that raises an error changes nothing.

    Attributes:
        config: the settings.
        size: height and width of the video's frames; None before the first.
        inside: height and width at which the network sees them.
        weights: hash of the weights.
    """

    model: nn.Module
    config: Config
    size: tuple[int, int] | None = None
    inside: tuple[int, int] | None = None
    _follower: Follower = field(init=False, repr=False)
    _past: deque[tuple[Follower, tuple[Any, ...]]] = field(default_factory=lambda: deque(maxlen=UNDO), repr=False)
    _signatures: tuple[UInt8[np.ndarray, " s"], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self.weights = weights_hash(self.model)
        self._follower = follower(self.model, self.config)

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects that are followed."""
        return tuple(self._follower.ids)

    @property
    def frame(self) -> int:
        """Number of the last frame; -1 before the first."""
        return self._follower.frame

    @torch.inference_mode()
    def step(self, picture: Source, masks: Masks | None = None) -> Result:
        """Takes the next frame.

        Args:
            picture: a path, a PIL image, an array (h w, h w 3) or a tensor (c h w).
            masks: what is marked in it: a label map, or {id: mask}. New ids begin objects, others are corrected;
                objects that are not named are predicted.

        Raises:
            InputError: no picture, another size than the frames before, masks of another size than the picture, ids
                outside 1 to 254, a first mask in which nothing is marked, or more than MAX_OBJECTS objects.
        """
        number = self._follower.frame + 1
        seen, warnings = pictures.read(picture), []
        found = (seen.shape[1], seen.shape[2])
        size = self.size or found
        if found != size:
            if not _near(found, size):
                raise InputError(
                    f"frame {number}: {_said(found)} pixels, but the video began with {_said(size)}: frames of a video "
                    "have one size; begin another session for another video"
                )
            warnings.append(f"it has {_said(found)} pixels, the video {_said(size)}: it was resized")
            seen = pictures.resize(seen, *size)
        given = {}
        if masks is not None:
            given, odd = read_masks(masks, size)
            warnings += odd
            _check(given, self._follower.ids, number)
        inside = self.inside or size_inside(self.config, *size)
        shrunk = pictures.resize(seen, *inside)
        signatures = (*self._signatures[-7:], videos.signature_of(_pixels(shrunk)))
        cut = len(signatures) > 1 and len(signatures) - 1 in videos.cuts(range(len(signatures)), signatures)
        if cut:
            signatures = signatures[-1:]  # what was usual in the last scene says nothing of this one
        weight = next(self.model.parameters())
        small = {
            one: pictures.resize(torch.from_numpy(mask).float(), *inside).clamp(0, 1).to(weight.device)
            for one, mask in given.items()
        }
        before = self._follower.copy(), (self.size, self.inside, self._signatures)
        try:
            answer = self._follower.step(shrunk.to(weight.device, weight.dtype), small, cut=cut)
        except BaseException:
            self._follower = before[0]
            raise
        self._past.append(before)
        self.size, self.inside, self._signatures = size, inside, signatures
        return self._result(answer, given, cut, warnings, _pixels(seen))

    def _result(
        self, answer: Answer, given: Mapping[int, np.ndarray], cut: bool, warnings: Sequence[str], pixels: np.ndarray
    ) -> Result:
        ids = self.ids
        if len(ids) == 1:
            labels = (resized(answer.probability[1:], *pixels.shape[:2])[0] > 0.5).to(torch.uint8) * ids[0]
        else:
            lookup = torch.tensor([0, *ids], dtype=torch.uint8, device=answer.probability.device)
            # `max` finds the place six times as fast as `argmax` does
            labels = lookup[resized(answer.probability, *pixels.shape[:2]).max(0).indices]
        labels = labels.cpu().numpy()
        for one, mask in given.items():  # what was given is right to the pixel
            labels[(labels == one) & ~mask] = 0
        for one, mask in given.items():
            labels[mask] = one
        scores = dict(zip(ids, answer.presence.float().cpu().tolist(), strict=True))
        areas = np.bincount(labels.ravel(), minlength=256)
        lost = tuple(one for one in ids if scores[one] < 0.5 or areas[one] == 0)
        maps = answer.probability.float().cpu().numpy()
        return Result(
            self.frame, labels, ids, scores, lost, tuple(given), cut, tuple(warnings), maps, pixels, self.weights
        )

    def remove(self, *ids: int) -> None:
        """Stops following objects.

        Raises:
            InputError: no such object.
        """
        if unknown := [one for one in ids if one not in self.ids]:
            raise InputError(
                f"no object {unknown[0]} is followed; there are: {', '.join(map(str, self.ids)) or 'none'}"
            )
        self._past.append((self._follower.copy(), (self.size, self.inside, self._signatures)))
        self._follower.remove(ids)

    def undo(self, steps: int = 1) -> None:
        """Takes back the last steps and removals, at most UNDO of them.

        Raises:
            InputError: there are not so many.
        """
        if not 1 <= steps <= len(self._past):
            raise InputError(f"{len(self._past)} steps can be taken back (at most {UNDO}), not {steps}")
        for _ in range(steps):
            self._follower, (self.size, self.inside, self._signatures) = self._past.pop()

    def save(self, path: Path | str) -> Path:
        """Writes the state (.safetensors), for `Vos.session(state=...)` to go on; without what `undo` takes back."""
        header = {
            "format": FORMAT,
            "design": self.config.design,
            "weights": self.weights,
            "size": self.size,
            "inside": self.inside,
        }
        tensors = {f"follower.{name}": value for name, value in self._follower.tensors().items()}
        tensors |= {f"signature.{i}": torch.from_numpy(row) for i, row in enumerate(self._signatures)}
        copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        return write_atomically(Path(path), to_bytes(copies, {"percepta vos session": json.dumps(header)}))

    def load(self, path: Path | str) -> None:
        """Goes on where a saved session was.

        Raises:
            MissingFileError, InputError: no such file; not a session; one of other weights.
        """
        path = check_regular(Path(path))
        try:
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get("percepta vos session")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dictionary)
        except SafetensorError as reason:
            raise InputError(f"{path}: not a saved session, or a damaged one ({reason})") from None
        header = {} if text is None else json.loads(text)
        if header.get("format") != FORMAT:
            raise InputError(f"{path}: not a session that vos saved in format {FORMAT}")
        if (header["design"], header["weights"]) != (self.config.design, self.weights):
            raise InputError(f"{path}: saved by another network or with other weights; load those first")
        device = next(self.model.parameters()).device
        own = "follower."
        self._follower = follower(self.model, self.config)
        self._follower.fill(
            {name.removeprefix(own): value.to(device) for name, value in tensors.items() if name.startswith(own)}
        )
        self.size, self.inside = (None if header[key] is None else tuple(header[key]) for key in ("size", "inside"))
        count = sum(name.startswith("signature.") for name in tensors)
        self._signatures = tuple(tensors[f"signature.{i}"].numpy() for i in range(count))
        self._past.clear()


@dataclass(frozen=True)
class Vos:
    """Video object segmentation, ready to use: `percepta.load("vos")`.

    Attributes:
        config: its settings.
        model: the network, in eval mode.
        licence: of the weights and of the data behind them.
        evaluate: its numbers on data.
        open_stream: what `percepta.load` hands to systems that look at pictures one by one; not used, since frames of
            a video belong together: see `follow`.
    """

    config: Config
    model: nn.Module
    licence: str
    evaluate: Evaluate
    open_stream: Any = None
    name: ClassVar[str] = "vos"

    def __repr__(self) -> str:
        first = next(self.model.parameters())
        millions = sum(value.numel() for value in self.model.parameters()) / 1e6
        return f"Vos({millions:.1f} million parameters, {str(first.dtype).removeprefix('torch.')} on {first.device})"

    def session(self, *, state: Path | str | None = None) -> Session:
        """A video that begins, or goes on where `Session.save` was called.

        Raises:
            MissingFileError, InputError: the file is no session of this network.
        """
        session = Session(self.model, self.config)
        if state is not None:
            session.load(state)
        return session

    def follow(self, video: Iterable[Source], masks: Masks | Mapping[int, Masks], *, at: int = 0) -> Iterator[Result]:
        """The frames of a video one by one, forwards; nothing is kept of those that are over.

        Args:
            video: its frames, of one size: files, arrays, or a stream of them.
            masks: of frame `at`: a label map, or {id: mask}. For several frames use `predict`, or a session.
            at: number of the frame that they belong to; frames before it are given without objects.

        Raises:
            InputError: see `Session.step`; the video ends before frame `at`.
        """
        session = self.session()
        for number, picture in enumerate(video):
            yield session.step(picture, masks if number == at else None)  # type: ignore[arg-type]
        _check_ends([at], session.frame + 1)

    def predict(
        self,
        video: Sequence[Source] | Iterable[Source],
        masks: Masks,
        *,
        at: int = 0,
        more: Mapping[int, Masks] | None = None,
        backwards: bool = True,
    ) -> Track:
        """A whole video: forwards from the first frame with a mask, and from there backwards to the beginning.

        Args:
            video: its frames, of one size: a list of files or arrays, or an array `t h w 3`. Backwards they have to be
                in a list; forwards any stream does.
            masks: of frame `at`: a label map, or {id: mask}.
            at: number of the frame that they belong to.
            more: masks of further frames, {number: masks}: of new objects, or corrections.
            backwards: whether frames before the first mask are followed too.

        Returns:
            Labels of all frames.

        Raises:
            InputError: a frame with masks is refused (see `Session.step`); a mask for a frame that there is not; frames
                before the first mask in a stream that cannot be gone through backwards. Any other frame that is refused
                is left out, and the track's warnings say so.
        """
        every = {at: masks, **(more or {})}
        if len(every) <= len(more or {}):
            raise InputError(f"frame {at} has masks twice: in `masks` and in `more`")
        first = min(every)
        if first < 0:
            raise InputError(f"frames are counted from 0; there is no frame {first}")
        turn = backwards and first > 0
        if turn and not (hasattr(video, "__len__") and hasattr(video, "__getitem__")):
            raise InputError(
                f"the first mask belongs to frame {first}: to follow backwards from there, give the frames as a list, "
                "or say backwards=False"
            )
        results: dict[int, _Kept] = {}
        warnings: list[str] = []
        session, count = self.session(), 0
        for number, picture in enumerate(video):
            count = number + 1
            if number >= first and (kept := _taken(session, picture, every.get(number), number, warnings)):
                results[number] = kept
        _check_ends(list(every), count)
        if count == 1:
            warnings.append("the video has one frame: there was nothing to follow")
        if turn:
            session = self.session()
            for number in range(first, -1, -1):
                kept = _taken(session, video[number], every.get(number), number, warnings)  # type: ignore[index]
                if kept is None or number == first:
                    continue
                results[number] = replace(kept, cut=False)
                if kept.cut:  # on the way back, another scene begins with the frame that was taken before
                    before = min(later for later in results if later > number)
                    results[before] = replace(results[before], cut=True)
        order = sorted(results)
        ids = tuple(dict.fromkeys(one for number in order for one in results[number].scores))
        scores = np.array([[results[number].scores.get(one, np.nan) for one in ids] for number in order])
        warnings += [f"frame {number}: {text}" for number in order for text in results[number].warnings]
        return Track(
            tuple(order),
            ids,
            scores.reshape(len(order), len(ids)),
            tuple(number for number in order if results[number].cut),
            tuple(warnings),
            tuple(results[number].png for number in order),
            weights_hash(self.model),
        )


@dataclass(frozen=True)
class _Kept:
    """What a track keeps of a frame."""

    png: bytes
    scores: dict[int, float]
    cut: bool
    warnings: tuple[str, ...]


def _taken(session: Session, picture: Source, masks: Masks | None, number: int, warnings: list[str]) -> _Kept | None:
    """A step of a track; None where the frame is left out, which is noted."""
    try:
        result = session.step(picture, masks)
    except InputError as error:
        if masks is not None:
            raise
        text = str(error).removeprefix(f"frame {session.frame + 1}: ")  # the session counts what it has taken
        warnings.append(f"frame {number} is left out: {text}")
        return None
    return _Kept(packed(result.labels), result.scores, result.cut, result.warnings)


def read_masks(masks: Masks, size: tuple[int, int]) -> tuple[dict[int, Bool[np.ndarray, "h w"]], list[str]]:
    """Masks in any form as {id: mask}, and what is odd about them.

    Args:
        masks: a label map, or {id: mask}.
        size: height and width of the frame.

    Raises:
        InputError: another size than the frame's, ids outside 1 to 254, or something that is no mask.
    """
    if isinstance(masks, Mapping):
        out, warnings = {}, []
        for one, mask in masks.items():
            _check_id(one)
            values, odd = _values(mask, size, f"the mask of object {one}")
            out[int(one)] = (values > 0) & (values != VOID) if set(np.unique(values)) - {0, VOID} else values > 0
            warnings += odd
        taken = np.zeros(size, bool)
        for one, mask in out.items():
            if (taken & mask).any():
                warnings.append(f"object {one} overlaps another one: the pixels go to the later")
            taken |= mask
        return out, warnings
    values, warnings = _values(masks, size, "the mask")
    found = np.unique(values).tolist()
    if set(found) <= {0, VOID}:  # black and white: one object
        return ({1: values > 0} if VOID in found else {}), warnings
    return {one: values == one for one in found if one not in (0, VOID)}, warnings


def _values(mask: Mask, size: tuple[int, int], name: str) -> tuple[np.ndarray, list[str]]:
    """The values of a mask of the size of the frame."""
    if isinstance(mask, str | Path):
        name = str(mask)
        try:
            with Image.open(check_regular(Path(mask))) as picture:
                mask = picture.copy()
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name}: not a picture that can be read ({error})") from None
    if isinstance(mask, Image.Image):
        if mask.mode not in ("1", "L", "P", "I", "I;16"):
            raise InputError(
                f"{name}: a mask has one value a pixel (an indexed or grey picture); this one has the mode {mask.mode}"
            )
        values = np.asarray(mask)
    elif isinstance(mask, Tensor):
        values = mask.detach().cpu().numpy()
    elif isinstance(mask, np.ndarray):
        values = mask
    else:
        raise InputTypeError(f"{name}: a path, a PIL image, an array or a tensor, not {type(mask).__name__}")
    if values.ndim != 2:
        raise InputError(f"{name}: a mask is height × width, this one has the shape {values.shape}")
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if not np.issubdtype(values.dtype, np.integer):
        if not np.isin(values, (0, 1)).all():
            raise InputError(f"{name}: ids are whole numbers; for a probability give mask > 0.5")
        values = values.astype(np.uint8)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0 or high > VOID:
        raise InputError(
            f"{name}: ids go from 1 to 254, 0 is nothing and 255 not known; this one has {low if low < 0 else high}"
        )
    warnings = []
    if values.shape != size:
        if not _near(values.shape, size):
            raise InputError(
                f"{name} has {_said(values.shape)} pixels, the frame {_said(size)}: masks have the size of the frame"
            )
        warnings.append(f"{name} has {_said(values.shape)} pixels, the frame {_said(size)}: it was resized")
        rows = (np.arange(size[0]) + 0.5) * values.shape[0] / size[0]
        columns = (np.arange(size[1]) + 0.5) * values.shape[1] / size[1]
        values = values[rows.astype(int)[:, None], columns.astype(int)]
    return values.astype(np.uint8), warnings


def _check(given: Mapping[int, np.ndarray], ids: Sequence[int], number: int) -> None:
    """Raises InputError where masks begin what cannot be followed."""
    if not given and not ids:
        raise InputError(f"frame {number}: nothing is marked in the first mask, so there is nothing to follow")
    for one, mask in given.items():
        if one not in ids and not mask.any():
            raise InputError(f"frame {number}: the mask of object {one}, which begins here, is empty")
    total = len({*ids, *given})
    if total > MAX_OBJECTS:
        raise InputError(f"frame {number}: {total} objects; at most {MAX_OBJECTS} are followed at once")


def _check_id(one: Any) -> None:
    if not isinstance(one, int | np.integer) or not 1 <= one <= 254:
        raise InputError(f"ids are whole numbers from 1 to 254; got {one!r}")


def _check_ends(numbers: Sequence[int], count: int) -> None:
    if beyond := [number for number in numbers if number >= count]:
        raise InputError(
            f"a mask for frame {beyond[0]}, but the video has {count} frames, counted from 0"
            if count
            else "the video has no frames"
        )


def _near(a: Sequence[int], b: Sequence[int]) -> bool:
    return all(abs(x - y) <= max(1, NEAR * y) for x, y in zip(a, b, strict=True))


def _said(size: Sequence[int]) -> str:
    return f"{size[0]}×{size[1]}"


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def _pixels(picture: Tensor) -> np.ndarray:
    return pictures.to_bytes(picture).permute(1, 2, 0).contiguous().numpy()


def packed(labels: UInt8[np.ndarray, "h w"]) -> bytes:
    """A label map as an indexed PNG in the colours of DAVIS."""
    picture = Image.fromarray(labels).convert("P")
    picture.putpalette(palette())
    return _png(picture)


def drawn(picture: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"], ids: Sequence[int]) -> Image.Image:
    """A frame with its objects on it, each in a colour of its own.

    Args:
        picture: the frame.
        labels: whose each pixel is.
        ids: which objects are drawn; the order gives the colours.
    """
    out = Image.fromarray(picture)
    for one, colour in zip(ids, draw.colours(len(ids)), strict=True):
        if (labels == one).any():
            out = draw.overlay(out, labels == one, colour=colour)
    return out
