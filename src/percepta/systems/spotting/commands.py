"""The verbs of action spotting: `world` renders games with their features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from percepta import shell
from percepta.errors import InputError


@dataclass(frozen=True)
class World:
    """Renders games and writes their features and labels in SoccerNet's layout, for spotting and replay."""

    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = tyro.MISSING
    """Folder; games go to DIR/train, DIR/val and DIR/test. Games that are there are left as they are."""
    train: int = 12
    """Games for training."""
    val: int = 2
    """Games to choose settings by."""
    test: int = 5
    """Games for the reported numbers."""
    processes: int = 0
    """Games that are rendered at a time, with Ray; 0: one after the other, here."""
    part: tuple[int, int] = (0, 1)
    """(i, n): only every n-th game, beginning with the i-th; for several commands at once without Ray."""


def world(options: World, screen: Console) -> int:
    """Renders what is missing.

    Raises:
        InputError: `part` is none.
    """
    from percepta import scale
    from percepta.worlds.pitch.recording import FIRST

    i, n = options.part
    if not 0 <= i < n:
        raise InputError(f"--part is I N with 0 <= I < N, got {i} {n}")
    counts = {"test": options.test, "val": options.val, "train": options.train}
    jobs = [(options.out, f"{split}/game-{k:03d}", FIRST[split] + k) for split, m in counts.items() for k in range(m)]
    jobs = jobs[i::n]
    with shell.progress_bar(screen, f"rendering {len(jobs)} games") as bar:
        for done, folder in enumerate(scale.stream(_record, jobs, processes=options.processes), 1):
            bar(done, len(jobs), folder.name)
    screen.print(f"{options.out}: {len(jobs)} games", soft_wrap=True)
    return 0


def _record(job: tuple[Path, str, int]) -> Path:
    from percepta.worlds.pitch.recording import record

    out, name, seed = job
    return record(out, name, seed, lite0(), "lite0")


def lite0() -> Callable[[Any], Any]:
    """Features of pictures by the frozen encoder that comes with its wheel."""
    import torch

    from percepta import pretrained
    from percepta.nn.spotting import FrameEncoder

    holder = torch.nn.Module()
    holder.image = FrameEncoder().eval()
    pretrained.fill(holder, {"image": "efficientnet-lite0"})

    @torch.inference_mode()
    def encode(pictures: Any) -> Any:
        return holder.image.frames(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255).numpy()  # type: ignore[operator]

    return encode


COMMANDS = {"world": (World, world)}
