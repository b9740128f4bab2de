"""Draws docs/pictures/layers.svg from the imports of the source: `python docs/layers.py`.

A row is a layer; a module may import what stands in its own row and below. Beside each name: how many modules of later
layers import from it.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from test_imports import LAYERS, RANK, imported, module_name, modules  # noqa: E402

WIDTH, ROW, LEFT = 900, 58, 16


def uses() -> dict[str, set[str]]:
    """{name of a layer's part: the parts of percepta that import from it}."""
    found: dict[str, set[str]] = {name: set() for name in RANK}
    for path in modules():
        module = module_name(path)
        own = module.split(".")[1] if "." in module else ""
        for name in imported(path.read_text(), module, path.name == "__init__.py"):
            parts = name.split(".")
            if parts[0] == "percepta" and len(parts) > 1 and parts[1] in RANK and own in RANK and parts[1] != own:
                found[parts[1]].add(module)
    return found


def svg() -> str:
    """The picture: the last layer on top, and what each rests on below it."""
    source = HERE.parent / "src" / "percepta"
    there = [[n for n in names if (source / n).is_dir() or (source / f"{n}.py").is_file()] for names in LAYERS]
    rows = [names for names in reversed(there) if names]
    height = ROW * len(rows) + 24
    found = uses()
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="14">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for row, names in enumerate(rows):
        y = 12 + ROW * row
        shade = 250 - 6 * (len(rows) - row)
        out.append(
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH - 2 * LEFT}" height="{ROW - 12}" rx="8" '
            f'fill="rgb({shade - 10},{shade},255)" stroke="#9fb3d1"/>'
        )
        step = (WIDTH - 2 * LEFT) / len(names)
        for column, name in enumerate(names):
            x = LEFT + step * (column + 0.5)
            out.append(f'<text x="{x:.0f}" y="{y + 21}" text-anchor="middle" fill="#16324f">{escape(name)}</text>')
            users = len(found[name])
            note = f"used by {users} modules" if users else ""
            out.append(
                f'<text x="{x:.0f}" y="{y + 37}" text-anchor="middle" fill="#5b6b7d" font-size="10">{note}</text>'
            )
    return "\n".join([*out, "</svg>", ""])


def write(path: Path = HERE / "pictures" / "layers.svg") -> Path:
    """Writes the picture and returns where it is."""
    path.write_text(svg(), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write())
