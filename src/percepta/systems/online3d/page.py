"""What a page shows of an answer and of a session."""

from __future__ import annotations

from PIL import Image

from percepta.contract import Block
from percepta.report import Curves, Gallery, Numbers, Table
from percepta.systems.online3d.online import Online
from percepta.systems.online3d.result import Result, instance_colours, label_colours, slanted


def result_blocks(result: Result) -> list[Block]:
    """Pictures and the table of instances."""
    tones = {"classes": label_colours()[result.label], "instances": instance_colours(result.instance)}
    pictures = [(Image.fromarray(slanted(result.xyz, tone)), name) for name, tone in tones.items()]
    rows = [[r["id"], r["label"], r["points"], *r["middle_m"]] for r in result.instances()]
    columns = ["id", "class", "points", "x m", "y m", "z m"]
    return [Gallery([(result, "colours, classes, instances"), *pictures]), Table(columns, rows)]


def session_blocks(online: Online) -> list[Block]:
    """The map as it is, and what its frames cost."""
    taken = [s for s in online.stats if s.taken]
    parts = {name: [(s.frame, s.ms[name]) for s in taken] for name in (taken[0].ms if taken else ())}
    shares = {
        "computed anew": [(s.frame, 100 * s.active / s.voxels) for s in taken],
        "new": [(s.frame, 100 * s.new / s.voxels) for s in taken],
    }
    numbers = {
        "frames": len(online.stats),
        "left out": len(online.stats) - len(taken),
        "voxels": online.map.count,
        "ms a frame": sum(sum(s.ms.values()) for s in taken) / max(len(taken), 1),
    }
    return [
        *result_blocks(online.result()),
        Numbers(numbers),
        Curves("milliseconds a frame, by part", parts, "frame"),
        Curves("voxels of a frame, % of the map", shares, "frame"),
    ]
