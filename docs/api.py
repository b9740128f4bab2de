"""Writes docs/api/*.md from the docstrings of the source: `python docs/api.py`, or `make docs`.

A page a system (its settings, what `percepta.load` gives, and its results), and one for what they share. Only public
names are in it. griffe reads the source; nothing is imported.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"
# What all systems share: these modules, and all of metrics.
SHARED = ("contract", "train", "export", "errors", "config", "media.source", "media.image", "media.video", "metrics")


def pages() -> dict[str, str]:
    """{name of a file in docs/api: its text}."""
    logging.getLogger("griffe").setLevel(logging.ERROR)  # it asks for a line of its own for each argument
    package = griffe.load("percepta", search_paths=[SOURCE], docstring_parser="google", resolve_aliases=False)
    names = list(package["systems"].attributes["TABLE"].value.keys)  # the systems, as they are written in the source
    systems = sorted(str(name).strip("'\"") for name in names)
    shared = [package, *(package[name] for name in SHARED), *package["metrics"].modules.values()]
    found = {"shared.md": page("What all systems share", shared)}
    for name in systems:
        own = package["systems"][name]
        found[f"{name}.md"] = page(f"percepta.systems.{name}", [own, own["predict"]])
    rows = "\n".join(f"- [{name}]({name}.md)" for name in systems)
    found["index.md"] = (
        "# API reference\n\nWritten by `make docs` from the docstrings of the source. Arrays are numpy's unless a type "
        f"says `Tensor`; sizes stand in the types, as `h w`.\n\n- [what all systems share](shared.md)\n{rows}\n"
    )
    return found


def page(title: str, modules: list[Any]) -> str:
    """The text of a page.

    Args:
        title: its heading.
        modules: whose public classes and functions it shows.
    """
    lines = [f"# {title}", ""]
    for module in modules:
        lines += [f"## `{module.path}`", "", *prose(module), ""]
        for member in public(module):
            lines += described(member, 3)
    return "\n".join(lines).rstrip() + "\n"


def public(owner: Any) -> Iterator[Any]:
    """Classes and functions that a module or class defines itself, in the order of the source."""
    members = [m for m in owner.members.values() if not m.is_alias and not m.name.startswith("_")]
    yield from (m for m in sorted(members, key=lambda m: m.lineno or 0) if m.is_class or m.is_function)


def described(member: Any, level: int) -> list[str]:
    """The lines about a class or function, and about the methods of a class."""
    what = "class " if member.is_class else ""
    lines = [f"{'#' * level} {what}`{member.name}{'' if member.is_class else signature(member)}`", "", *prose(member)]
    if member.is_class:
        rows = []
        for one in member.attributes.values():
            if one.docstring and not one.name.startswith("_") and "property" not in one.labels:
                text = " ".join(one.docstring.value.split())
                default = f" = `{one.value}`" if one.value is not None and len(str(one.value)) < 40 else ""
                rows.append(f"- `{one.name}`: `{one.annotation}`{default}. {text}")
        lines += [*rows, ""] if rows else []
        for one in member.attributes.values():
            if "property" in one.labels and one.docstring and not one.name.startswith("_"):
                lines += [f"{'#' * (level + 1)} `{one.name}`", "", *prose(one)]
        for method in public(member):
            if method.docstring:
                lines += described(method, level + 1)
    return lines


def signature(function: Any) -> str:
    """Names and defaults of the arguments; types stand with them below."""
    words = []
    for one in function.parameters:
        if one.name in ("self", "cls"):
            continue
        kind = str(one.kind.value) if one.kind else ""
        if kind == "keyword-only" and "*" not in words and not any(w.startswith("*") for w in words):
            words.append("*")
        star = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        words.append(f"{star}{one.name}" + (f"={one.default}" if one.default is not None and not star else ""))
    return f"({', '.join(words)})"


def prose(member: Any) -> list[str]:
    """The sections of a docstring as lines."""
    if not member.docstring:
        return []
    lines: list[str] = []
    for section in member.docstring.parsed:
        kind = section.kind.value
        if kind == "text":
            lines += [section.value, ""]
        elif kind in ("parameters", "attributes", "raises", "returns", "yields"):
            heads = {"parameters": "Arguments", "attributes": "Attributes", "raises": "Raises", "returns": "Returns"}
            lines += [f"{heads.get(kind, 'Yields')}:", ""]
            for one in section.value:
                name = getattr(one, "name", "") or ""
                kind_of = f"`{one.annotation}`" if one.annotation is not None else ""
                head = ", ".join(part for part in (f"`{name}`" if name else "", kind_of) if part)
                text = " ".join(str(one.description).split())
                lines.append(f"- {head}: {text}" if head else f"- {text}")
            lines.append("")
    return lines


def main() -> None:
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(list(folder.iterdir()))} pages in {folder}\n")


if __name__ == "__main__":
    main()
