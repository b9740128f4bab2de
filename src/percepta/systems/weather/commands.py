"""The verbs of street segmentation: `predict`, `submit` for the ACDC server, `bonnet`, `far`."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import __main__ as general
from percepta import shell
from percepta.errors import InputError
from percepta.files import write_atomically


@dataclass(frozen=True)
class Predict(general.Predict):
    """Classes of every pixel of street pictures or of a drive: overlays, label PNGs, confidence, drivable share."""

    classes: tuple[str, ...] = ()
    """Classes that are drawn. Left out: all."""
    drivable: tuple[str, ...] = ()
    """Classes that count as drivable. Left out: road."""
    names: str | None = None
    """Answer in the names of another label set: cityscapes or idd-lite."""
    bonnet: Path | None = None
    """A black and white picture, white where the car itself is seen; `percepta weather bonnet` makes one."""
    smoothing: float | None = None
    """Share of the frame before in what shows the same thing, 0 to below 1. Left out: 0.6 for a video, else 0."""


def predict(options: Predict, screen: Console) -> int:
    """Predicts and writes everything; 1 where some inputs failed."""
    if options.words:
        raise shell.UsageError(f"weather takes no words beside its input; got {' '.join(options.words)!r}")
    camera = options.input.startswith("camera:")
    source = options.input if camera else general._source(options.input, options.recursive)
    if camera or options.live:
        title = f"weather: {options.input}"
        return general._serve(lambda: _stream(shell.load("weather", options), source, options, screen), title, screen)
    begin = shell.check_out(options.out, screen, shell.inputs_of(source))
    system = shell.load("weather", options)
    return general._write_answers(_stream(system, source, options, screen), system, options, begin, screen)


def _stream(system: Any, source: Any, options: Predict, screen: Console) -> Any:
    general.threshold_of(system, options)  # says that there is none
    asked: dict[str, Any] = {
        "classes": options.classes, "drivable": options.drivable, "names": options.names, "bonnet": options.bonnet,
    }  # fmt: skip
    if options.names is not None and (absent := system.absent(options.names)):
        screen.print(
            escape(f"never given, since nothing learned tells them apart: {', '.join(absent)}"), soft_wrap=True
        )
    return system.stream(
        source, batch_size=options.batch_size, recursive=options.recursive, fps=options.fps,
        smoothing=options.smoothing, **asked,
    )  # fmt: skip


@dataclass(frozen=True)
class Submit(shell.Which):
    """Writes what the ACDC server takes: labelTrainIds PNGs of the test pictures in the folders of gt/, zipped."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = tyro.MISSING
    """The folder of ACDC, with rgb_anon/."""
    out: Path = Path("out/acdc.zip")
    """The archive."""
    split: str = "test"
    """Which split."""
    condition: str | None = None
    """Only fog, night, rain or snow. Left out: all."""


def submit(options: Submit, screen: Console) -> int:
    """Predicts the pictures of a split in Cityscapes' train ids.

    Raises:
        InputError: no such pictures, or a network whose classes are not Cityscapes'.
    """
    import numpy as np
    from PIL import Image

    from percepta.datasets import acdc, layouts
    from percepta.datasets.street_pictures import CITYSCAPES, StreetPicture

    found = layouts.find_one(options.data, StreetPicture)
    if found.set is not acdc:
        raise InputError(f"{options.data}: {found.set.NAME}, and the server takes pictures of ACDC ({acdc.FILES})")
    pictures = [
        one for one in found.read(found.root)
        if one.split == options.split and options.condition in (None, one.condition)
    ]  # fmt: skip
    if not pictures:
        raise InputError(f"{options.data}: no picture of the split {options.split!r} there")
    system = shell.load("weather", options)
    names = None if system.config.label_set == CITYSCAPES.name else CITYSCAPES.name
    if names and (absent := system.absent(names)):
        screen.print(escape(f"never given by this network: {', '.join(absent)}"), soft_wrap=True)
    content = io.BytesIO()
    with (
        zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive,
        shell.progress_bar(screen, "weather: ACDC") as bar,
    ):
        for done, one in enumerate(pictures, 1):
            labels = system.predict(one.image, names=names).labels
            entry = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(labels)).save(entry, "PNG")
            archive.writestr(archive_name(one.image, options.data), entry.getvalue())
            bar(done, len(pictures), one.name)
    write_atomically(options.out, content.getvalue())
    screen.print(escape(f"{len(pictures)} label maps in {options.out}"), soft_wrap=True)
    return 0


def archive_name(image: Path, root: Path) -> str:
    """Where the label map of a picture stands in the archive: its path below rgb_anon/, with the ending of gt/."""
    parts = image.relative_to(root).parts
    below = parts[parts.index("rgb_anon") + 1 :]
    return "/".join([*below[:-1], f"{image.stem.removesuffix('_rgb_anon')}_gt_labelTrainIds.png"])


@dataclass(frozen=True)
class Bonnet:
    """Finds where the car itself is seen: what stays as it is while everything else moves."""

    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER|VIDEO")] = tyro.MISSING
    """A drive: a folder of its pictures, or a video."""
    out: Path = Path("bonnet.png")
    """Where the black and white picture is written."""
    pictures: int = 30
    """How many pictures of the drive are looked at, evenly spread."""
    change: float = 0.05
    """Mean change of a pixel, 0..1, below which it stays as it is."""


def bonnet(options: Bonnet, screen: Console) -> int:
    """Writes the mask; says how much of the picture it is."""
    import numpy as np
    from PIL import Image

    from percepta.media.frames import Frames
    from percepta.systems.weather.predict import bonnet_of

    frames = [picture for _, picture in Frames.open(options.input)]
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(options.pictures, len(frames))).round().astype(int))
    mask = bonnet_of([frames[i] for i in chosen], change=options.change)
    content = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(content, "PNG")
    write_atomically(options.out, content.getvalue())
    screen.print(escape(f"{options.out}: {mask.mean():.1%} of the picture is the car itself"), soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Far(shell.Which):
    """Measures how far pictures are from what training saw; the setting far_from_training comes from it."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = tyro.MISSING
    """A folder of street pictures."""
    split: str = "train"
    """Which split of it."""


def far(options: Far, screen: Console) -> int:
    """Prints the distances of each condition, the 99th of 100 of all, and the share that is warned of."""
    import numpy as np

    from percepta.media import image
    from percepta.systems.weather.data import pictures
    from percepta.systems.weather.windows import probabilities

    system = shell.load("weather", options)
    found = [one for one in pictures(options.data) if one.split in (options.split, "")]
    if not found:
        raise InputError(f"{options.data}: no picture of the split {options.split!r}")
    distances: dict[str, list[float]] = {}
    with shell.progress_bar(screen, "weather: distances") as bar:
        for done, one in enumerate(found, 1):
            with system.model.head.watched() as noted, _looking():
                probabilities(system.model, image.read(one.image))
            distances.setdefault(one.condition or "unknown", []).append(float(np.mean(noted)))
            bar(done, len(found), one.name)
    for condition, values in distances.items():
        screen.print(f"{condition}: median {np.median(values):.3f}, 99 of 100 below {np.percentile(values, 99):.3f}")
    every = [value for values in distances.values() for value in values]
    screen.print(f"all: 99 of 100 below {np.percentile(every, 99):.4f}")
    if level := system.config.far_from_training:
        screen.print(f"above this network's level of {level:g}: {np.mean(np.array(every) > level):.1%} of {len(every)}")
    return 0


def _looking() -> Any:
    import torch

    return torch.inference_mode()


@dataclass(frozen=True)
class Balance(shell.Which):
    """Makes rare classes likelier: shifts the classifier's bias by −power · log of how often each class is labelled."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = tyro.MISSING
    """The folder of data that the network was trained on."""
    power: float = 0.35
    """0: nothing changes; 1: as if all classes were equally frequent. Choose it on the split val."""
    out: Path = Path("runs/balanced/model.safetensors")
    """The new checkpoint."""


def balance(options: Balance, screen: Console) -> int:
    """Writes the checkpoint anew; probabilities become those of a street in which the classes are less unequal."""
    import numpy as np
    import torch

    from percepta import checkpoint
    from percepta.datasets.street_pictures import LABEL_SETS
    from percepta.systems.weather.data import Adapting, data

    system = shell.load("weather", options)
    samples = data(system.config, "train", options.data)
    if not isinstance(samples, Adapting) or not samples.counts.any():
        raise InputError(f"{options.data}: no label map of the network's own classes to count")
    frequency = samples.counts.sum(0) / samples.counts.sum()
    shift = np.where(frequency > 0, -options.power * np.log(np.maximum(frequency, 1e-9)), 0.0)
    with torch.no_grad():
        bias = system.model.head.get_parameter("classify.bias")
        bias += torch.from_numpy(shift).to(bias)
    preset = checkpoint.preset_of("weather", system.config)
    checkpoint.save(options.out, system.model, system="weather", preset=preset, config=system.config)
    classes = LABEL_SETS[system.config.label_set].classes
    names = ", ".join(f"{name} {one:+.2f}" for name, one in zip(classes, shift, strict=True))
    screen.print(escape(f"{options.out}: {names}"), soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Average(shell.Which):
    """Averages a run's weights with those that it started from: it keeps its gain on new pictures and loses less of
    what was known before."""

    start: str = "weather-small"
    """What the run started from: a run, a checkpoint, or the name of weights that ship."""
    share: float = 0.5
    """Of the run's weights in the average, 0..1. Choose it on the split val."""
    out: Path = Path("runs/averaged/model.safetensors")
    """The new checkpoint."""


def average(options: Average, screen: Console) -> int:
    """Writes the averaged checkpoint."""
    from percepta import checkpoint
    from percepta.weights import checkpoint_file

    start = checkpoint_file(options.start, "weather")
    system = shell.load("weather", options)
    checkpoint.average(system.model, start, options.share)
    preset = checkpoint.preset_of("weather", system.config)
    checkpoint.save(options.out, system.model, system="weather", preset=preset, config=system.config)
    words = f"{options.out}: {options.share:.0%} of the run's weights, {1 - options.share:.0%} of {options.start}"
    screen.print(escape(words), soft_wrap=True)
    return 0


COMMANDS = {
    "predict": (Predict, predict),
    "submit": (Submit, submit),
    "bonnet": (Bonnet, bonnet),
    "far": (Far, far),
    "balance": (Balance, balance),
    "average": (Average, average),
}
