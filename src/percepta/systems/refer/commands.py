"""Commands of refer beside the common ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import shell


@dataclass(frozen=True)
class Names:
    """Gives what is marked in training pictures finer names, by EfficientNet-Lite0, for `train refer --finer FILE`."""

    data: Annotated[Path, tyro.conf.Positional]
    """Folder of data, as for training."""
    out: Path = Path("finer.json")
    """File that is written."""


def names(options: Names, screen: Console) -> int:
    """Looks at every training picture of a folder."""
    from percepta import weights
    from percepta.nn import imagenet
    from percepta.nn.efficientnet import EfficientNetLite0
    from percepta.systems.refer import data, finer

    net = EfficientNetLite0()
    net.read(weights.files("efficientnet-lite0")[0])
    found = data.scenes(options.data, "train")
    with shell.progress_bar(screen, "looking") as bar:
        finer.write(options.out, found, net.eval().classify, imagenet.names(), lambda done, of: bar(done, of, ""))
    screen.print(escape(str(options.out)), soft_wrap=True)
    return 0


COMMANDS: dict[str, shell.Command] = {"names": (Names, names)}
