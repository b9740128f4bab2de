"""Pictures from anything into one form: float32, RGB, 0..1, `3 h w`, turned the way the camera was held."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Num, UInt8
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from percepta.errors import FolderError, InputError, InputTypeError, MissingExtraError, MissingFileError
from percepta.files import PICTURE_SUFFIXES, check_regular, listed, matching

SUFFIXES = PICTURE_SUFFIXES
VIDEO_SUFFIXES = frozenset(
    {
        ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".m2v", ".vob", ".wmv", ".asf", ".flv", ".ts",
        ".mts", ".m2ts", ".ogv", ".ogm", ".3gp", ".3g2", ".mxf", ".mjpeg", ".qt",
    }
)  # fmt: skip
RAW_SUFFIXES = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"})
# MP4 and QuickTime share their container with still pictures (HEIC, AVIF); the brand tells them apart.
_STILL_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1", b"heim", b"heis", b"hevc"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heif", b"mif1", b"msf1", b"heim", b"heis", b"hevc", b"hevx"})
_CHANNELS = (1, 3, 4)
MAX_PIXELS = 100_000_000
"""Of a file that is read whole, as 32-bit floats; twice as many where a smaller picture is asked for."""
LIFT = "PERCEPTA_MAX_PIXELS"
"""The environment variable that sets another limit."""
_LARGE = 16_000_000  # pixels from which a picture that will be small is averaged before it becomes floats

Source: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor


def read(source: Source, *, long_side: int | None = None, at_least: int | None = None) -> Float[Tensor, "3 h w"]:
    """One picture as float32 RGB in 0..1.

    Args:
        source: a path; a PIL image; or an array or tensor shaped `h w`, `h w c` or `c h w` with 1, 3 or
            4 channels (uint8 0..255, uint16 0..65535, bool, or float 0..1). Where both ends could be
            channels an array is taken as `h w c` and a tensor as `c h w`.
        long_side: shrink (never enlarge) to this many pixels on the longer side. JPEG files are then
            decoded at a fraction of their size, which is much faster.
        at_least: for whoever scales the picture anyway: files may come at a half, a third, ... of their size, as long
            as both sides keep this many pixels. Spares time and, with large files, memory.

    The EXIF orientation is applied, transparent pixels are laid over white, 16-bit greys keep their range.

    Raises:
        MissingFileError, IsADirectoryError: no such file; a folder.
        InputError: an empty, truncated or unknown file, a video, more pixels than MAX_PIXELS, an odd shape, values out
            of range.
        InputTypeError: something that is no picture.
    """
    if isinstance(source, str | Path):
        image = _from_file(Path(source), long_side, at_least)
    elif isinstance(source, Image.Image):
        image = _from_pil(source, "the PIL image")
    elif isinstance(source, Tensor):
        image = _from_array(source.detach().cpu(), channels_first=True)
    elif isinstance(source, np.ndarray):
        image = _from_array(source, channels_first=False)
    else:
        raise InputTypeError(
            f"a picture is a path, a PIL image, an array or a tensor, not of type {type(source).__name__}"
        )
    if long_side is not None:
        if long_side < 1:
            raise InputError(f"long_side must be at least 1 pixel, not {long_side}")
        height, width = image.shape[-2:]
        scale = long_side / max(height, width)
        if scale < 1:
            image = resize(image, max(1, round(height * scale)), max(1, round(width * scale)))
    return image


def resize(image: Float[Tensor, "*c h w"], height: int, width: int) -> Float[Tensor, "*c height width"]:
    """Bilinear with antialiasing: shrinking averages over the pixels that fall together.

    Args:
        image: any numbers.
        height: in pixels, 1 or more.
        width: in pixels, 1 or more.
    """
    if image.shape[-2:] == (height, width):
        return image
    flat = image.reshape(1, -1, *image.shape[-2:])
    out = F.interpolate(flat, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return out.reshape(*image.shape[:-2], height, width)


def crop_square(source: Source, side: int) -> Float[Tensor, "3 side side"]:
    """The middle square of a picture, anything that `read` takes, at a side of `side` pixels, 0..1; errors as there."""
    picture = read(source)
    height, width = picture.shape[1:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize(picture[:, top : top + short, left : left + short], side, side)


def squeeze_square(source: Source, side: int) -> Float[Tensor, "3 side side"]:
    """A whole picture, anything that `read` takes, squeezed into a square of `side` pixels, 0..1; errors as there.

    A JPEG comes at a half, a quarter, ... of its size, averaged, which is as sharp as it has to be and much faster.
    """
    return resize(read(source, at_least=side), side, side)


def to_bytes(image: Float[Tensor, "*any"]) -> UInt8[Tensor, "*any"]:
    """Numbers in 0..1 as the nearest bytes."""
    return (image * 255).round().to(torch.uint8)


def crops(pixels: UInt8[Tensor, "n 3 s s"], draws: Float[np.ndarray, "n 3"], part: int = 8) -> UInt8[Tensor, "n 3 s s"]:
    """Pictures cut out of themselves with a black border around, half of them mirrored: the usual views for training.

    Args:
        pixels: RGB bytes.
        draws: what decides, in 0..1: row, column, and whether a picture is mirrored.
        part: the border is `s // part` pixels wide: 4 of 32, unless told.

    Returns:
        Batches with the channels last in memory.
    """
    side = pixels.shape[-1]
    border = side // part
    shift = torch.from_numpy((draws[:, :2] * (2 * border + 1)).astype(np.int64))
    place, mirrored = torch.arange(side), torch.from_numpy(draws[:, 2] < 0.5)[:, None]
    rows, columns = shift[:, :1] + place, shift[:, 1:] + torch.where(mirrored, side - 1 - place, place)
    padded = F.pad(pixels, [border] * 4)
    # Indexing around a slice puts the channels last, which is also the order that convolutions like best here.
    cut = padded[torch.arange(len(pixels))[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)


def to_pil(image: Num[Tensor, "*c h w"] | Bool[Tensor, "h w"] | np.ndarray) -> Image.Image:
    """PIL image of floats in 0..1 (`3 h w`: RGB; `1 h w`, `h w`: grey) or of a Boolean mask (0 and 255)."""
    array = image.detach().float().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image, np.float32)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    elif array.ndim != 2:
        raise InputError(f"expected 3 h w, 1 h w or h w, not {tuple(array.shape)}")
    return Image.fromarray((array.clip(0, 1) * 255 + 0.5).astype(np.uint8))


def paths(where: str | Path) -> list[Path]:
    """Picture files, sorted: of a folder (not its subfolders), of a glob ("trip/**/*.jpg"), or one file.

    Raises:
        MissingFileError: nothing there, or no picture among it; says what there is instead.
    """
    path = Path(where).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found, kind = list(listed(path)), "folder"
    elif any(mark in str(path) for mark in "*?["):
        found, kind = matching(path), "pattern"
    else:
        raise MissingFileError(f"{path}: no such file, folder or pattern")
    pictures = [one for one in found if one.suffix.lower() in SUFFIXES]
    if not pictures:
        others = sorted({one.suffix.lower() or "no ending" for one in found})
        there = f"; it has files with {', '.join(others[:8])}" if others else ""
        raise MissingFileError(f"{path}: no pictures in this {kind} (looked for {', '.join(sorted(SUFFIXES))}){there}")
    return pictures


def size(path: Path, *, upright: bool = True) -> tuple[int, int]:
    """(height, width) of what `read` gives, from the file's header alone; same errors as there.

    With `upright` False of what `load` gives: TIFF files are turned while they are decoded, others are not.
    """
    with _open(path) as picture:
        width, height = picture.size
        turned = _orientation(picture) >= 5 and (upright or picture.format == "TIFF")
        if picture.format == "TIFF":  # whose size may be turned already: by Pillow, and not by every version of it
            tags = getattr(picture, "tag_v2", {})
            width, height = tags.get(256, width), tags.get(257, height)
    return (width, height) if turned else (height, width)


def broken(path: Path) -> str:
    """Why a picture cannot be read; "" where it can. All of it is decoded, once as long as the file stays as it is."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return f"{path}: no such file"
    return _broken(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 17)
def _broken(path: Path, size: int, changed_ns: int) -> str:
    try:
        read(path, long_side=64)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def load(path: Path, *, at_least: tuple[int, int] | None = None, upright: bool = False) -> Image.Image:
    """A picture file as Pillow decodes it, for those who need its own mode: masks, depth, what is cut before use.

    Args:
        path: of the file.
        at_least: a JPEG may come at a half, a quarter, ... of its size, as long as it keeps this (width, height).
        upright: turned the way the camera was held, as `read` does it.

    Raises:
        MissingFileError, IsADirectoryError, InputError: as `read`.
    """
    with _open(path) as picture, _named(path):
        if at_least is not None:
            picture.draft(None, at_least)  # pyright: ignore[reportArgumentType]
        _few_enough(picture, path, MAX_PIXELS)
        picture.load()
        turned = upright and 2 <= _orientation(picture) <= 8
        return ImageOps.exif_transpose(picture) if turned else picture.copy()


def _from_file(path: Path, long_side: int | None, at_least: int | None) -> Float[Tensor, "3 h w"]:
    smaller = long_side if long_side is not None and long_side > 0 else at_least
    with _open(path) as picture:
        if smaller is not None:
            picture.draft(None, (smaller, smaller))  # pyright: ignore[reportArgumentType]
        _few_enough(picture, path, MAX_PIXELS * (1 if smaller is None else 2))
        return _from_pil(picture, path, long_side, at_least)


def _few_enough(picture: Image.Image, path: Path, most: int) -> None:
    """Raises InputError where a picture announces more pixels than may be read."""
    pixels, most = picture.width * picture.height, _lifted() or most
    if pixels > most:
        raise InputError(
            f"{path}: a picture of {pixels / 1e6:.0f} million pixels, more than {most / 1e6:.0f} million; make it "
            f"smaller, or set the environment variable {LIFT}={pixels} if this machine has the memory"
        )


def _lifted() -> int | None:
    """The limit that the user set."""
    text = os.environ.get(LIFT, "")
    if not text:
        return None
    if not text.isdecimal():
        raise InputError(f"{LIFT} is a number of pixels, not {text!r}")
    return int(text)


@contextlib.contextmanager
def _named(path: Path | str) -> Iterator[None]:
    """Whatever Pillow's readers raise, as an InputError that names the file."""
    try:
        yield
    except (InputError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture in any format that Pillow reads, or damaged at its start") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels to open safely ({error}); {LIFT} sets another limit") from None
    except Exception as error:  # damaged files raise nearly anything
        text = str(error) or type(error).__name__
        raise InputError(f"{path}: the picture cannot be decoded, truncated or damaged ({text})") from None


def _open(path: Path) -> Image.Image:
    folder = False
    with contextlib.suppress(OSError):  # a name that is too long: said below
        folder = path.is_dir()
    if folder:
        raise FolderError(f"{path}: this is a folder; give one picture, or list the folder with media.image.paths")
    with check_regular(path).open("rb") as file:
        head = file.read(16)
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    if _is_video(head, path.suffix.lower()):
        raise InputError(f"{path}: this is a video; give a picture, for example one of its frames")
    if path.suffix.lower() in RAW_SUFFIXES:
        raise InputError(f"{path}: a raw photograph; develop it into JPEG or TIFF with your camera's program first")
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        _register_heic(path)
    limit = _lifted()
    if limit is not None and Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(limit, Image.MAX_IMAGE_PIXELS)
    with _named(path):
        if head[:3] == b"\xff\xd8\xff":  # not by Image.open, which refuses large ones that a draft makes small
            return JpegImagePlugin.JpegImageFile(path)
        try:
            return Image.open(path)
        except ValueError:
            if head[:8] != _PNG:
                raise
            return Image.open(io.BytesIO(_without_text(path)))


_PNG = b"\x89PNG\r\n\x1a\n"


def _without_text(path: Path) -> bytes:
    """A PNG without its chunks of text: Pillow reads no picture that says more than a megabyte about itself."""
    data, at, kept = path.read_bytes(), len(_PNG), [_PNG]
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt"):
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def _register_heic(path: Path) -> None:
    """Lets Pillow read HEIC, which the extra `heic` brings."""
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError(f"{path}: a HEIC picture; to read those run pip install 'percepta[heic]'") from None
    register_heif_opener()


def _is_video(head: bytes, suffix: str) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILL_BRANDS
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "  # WebP is RIFF too
    starts = (
        b"\x1aE\xdf\xa3",
        b"FLV\x01",
        b"\x00\x00\x01\xba",
        b"\x00\x00\x01\xb3",
        b"0&\xb2u\x8ef\xcf\x11",
        b"OggS",
    )
    # Every packet of an MPEG transport stream starts with a G: too little to go by without the name.
    return head.startswith(starts) or (suffix in VIDEO_SUFFIXES and head[:1] == b"G")


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # a damaged EXIF block (Pillow raises many kinds) must not cost the picture
        return 1


def _from_pil(
    picture: Image.Image, name: Path | str, long_side: int | None = None, at_least: int | None = None
) -> Float[Tensor, "3 h w"]:
    with _named(name):
        array = _decode(picture, long_side, at_least)
    try:
        return _from_array(array, channels_first=False)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def _decode(picture: Image.Image, long_side: int | None, at_least: int | None) -> np.ndarray:
    picture.load()
    if 2 <= _orientation(picture) <= 8:
        picture = ImageOps.exif_transpose(picture)
    clear = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    large = picture.width * picture.height > _LARGE
    times = min(picture.size) // at_least if at_least else max(picture.size) // long_side if long_side and large else 1
    if times > 1 and (large or (picture.mode in ("RGB", "L") and not clear)):
        # Formats without a draft: pixels are averaged before they become floats, four times as large.
        picture = _smaller(picture, times, "RGBA" if clear else "RGB")
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode == "I":  # a 32-bit container, in practice of 16-bit data
        values = np.asarray(picture)
        return values.astype(np.uint16) if values.min() >= 0 and values.max() <= 65535 else values
    if picture.mode == "F":
        return np.asarray(picture)
    if picture.mode == "La":
        picture = picture.convert("LA")
    return np.asarray(picture.convert("RGBA" if clear else "RGB"))


def _smaller(picture: Image.Image, times: int, mode: str) -> Image.Image:
    """A picture at a fraction of its size; `mode` is what pictures become that cannot be averaged as they are."""
    if not picture.mode.startswith("I;16"):
        return (picture if picture.mode in ("RGB", "L", "RGBA", "LA", "I", "F") else picture.convert(mode)).reduce(
            times
        )
    values = np.asarray(picture)  # Pillow does not reduce 16-bit pictures; row by row, to spare memory
    starts = np.arange(0, values.shape[1], times)
    counts = np.diff([*starts, values.shape[1]])
    parts = (values[top : top + times] for top in range(0, len(values), times))
    rows = [np.add.reduceat(part.mean(0), starts) / counts for part in parts]
    return Image.fromarray(np.round(rows).astype(np.uint16))


def _from_array(array: np.ndarray | Tensor, *, channels_first: bool) -> Float[Tensor, "3 h w"]:
    shape = tuple(array.shape)
    if len(shape) == 2:
        axis = None
    elif len(shape) == 3 and (shape[0] in _CHANNELS or shape[2] in _CHANNELS):
        first, last = shape[0] in _CHANNELS, shape[2] in _CHANNELS
        axis = 0 if first and (channels_first or not last) else 2
    else:
        raise InputError(f"one picture is h w, h w c or c h w with 1, 3 or 4 channels; the shape given is {shape}")
    if 0 in shape:
        raise InputError(f"the picture has no pixels: its shape is {shape}")
    image = _unit_range(array)
    if axis is None:
        image = image[None]
    elif axis == 2:
        image = image.permute(2, 0, 1)
    if image.shape[0] == 4:
        colour, alpha = image[:3], image[3:]
        image = colour * alpha + (1 - alpha)
    return image.expand(3, -1, -1).contiguous()


def _unit_range(array: np.ndarray | Tensor) -> Float[Tensor, "*any"]:
    kind = str(array.dtype).removeprefix("torch.")
    # uint16 tensors have few operations, hence the way over NumPy.
    values = array.numpy() if isinstance(array, Tensor) and array.dtype != torch.bfloat16 else array
    scales = {"uint8": 255.0, "uint16": 65535.0, ">u2": 65535.0, "bool": 1.0}
    if kind in scales:
        return torch.from_numpy(np.asarray(values, dtype=np.float32) / np.float32(scales[kind]))
    if "float" not in kind:
        raise InputError(f"pictures are uint8, uint16, bool or float, not {kind}; convert with .astype('uint8')")
    image = values.float() if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float32))
    low, high = float(image.min()), float(image.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("the picture holds values that are not finite (NaN or infinity)")
    # Resampling overshoots by a little, normalised pictures and 0..255 by a lot.
    if low < -0.01 or high > 1.01:
        raise InputError(f"float pictures lie in 0..1; this one in {low:.3g}..{high:.3g}: divide by 255, or give uint8")
    return image.clamp(0, 1)


def stack(images: Sequence[Float[Tensor, "3 h w"]]) -> Float[Tensor, "b 3 h w"]:
    """A batch of pictures of one size; the error names the sizes when they differ."""
    sizes = sorted({tuple(image.shape[-2:]) for image in images})
    if len(sizes) != 1:
        raise InputError(f"a batch holds pictures of one size, not of {sizes}; resize them first")
    return torch.stack(list(images))
