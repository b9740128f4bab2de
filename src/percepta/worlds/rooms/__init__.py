"""Furnished rooms: made from a seed (`room`), walked through (`walk`), seen (`render`) and scanned (`scan`)."""

from percepta.worlds.rooms.interiors import CLASSES, KINDS, Boxes, Planes, Room, Thing, room
from percepta.worlds.rooms.recording import (
    CAMERA,
    SCAN_CAMERA,
    Scan,
    Sensor,
    View,
    fuse,
    measure,
    pairs,
    render,
    scan,
    walk,
)

__all__ = [
    "CAMERA", "CLASSES", "KINDS", "SCAN_CAMERA", "Boxes", "Planes", "Room", "Scan", "Sensor", "Thing", "View", "fuse",
    "measure", "pairs", "render", "room", "scan", "walk",
]  # fmt: skip
