"""The direction of imports, and that importing does nothing: read from the source, checked in a process."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import percepta
from percepta.systems import COMMANDS, TABLE

ROOT = Path(percepta.__file__).parent
LAYERS = (
    ("config", "files", "scale"),
    ("nn", "geometry", "media", "metrics"),
    ("datasets",),
    ("systems",),
    ("checkpoint", "weights", "train", "report", "export"),
    ("shell", "web", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = (
    "torch",
    "torchvision",
    "scipy",
    "av",
    "onnx",
    "onnxruntime",
    "PIL",
    "numpy",
    "safetensors",
    "tokenizers",
)


def module_name(path: Path) -> str:
    parts = ["percepta", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, module: str, is_package: bool, top_only: bool = False) -> set[str]:
    """Full names of what a module imports, `from a import b` as "a.b"; TYPE_CHECKING blocks count too."""
    tree = ast.parse(source)
    found: set[str] = set()
    for node in _outside_functions(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                package = package[: len(package) - (node.level - 1)]
                base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def _outside_functions(tree: ast.AST):
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _outside_functions(child)


def violations(module: str, imports: set[str]) -> list[str]:
    """Which of `imports` the module must not have, each with the reason."""
    parts = module.split(".")
    if len(parts) == 1:  # the package itself only points, lazily, to the rest
        return []
    rank = RANK.get(parts[1])
    if parts[1] == "systems" and parts[-1] == "commands":  # a face of the command line; nothing imports it
        rank = RANK["__main__"]
    if rank is None:
        return [f"{module} is in no layer: add {parts[1]} to the layers, in the design and here"]
    out = []
    for name in sorted(imports):
        target = name.split(".")
        if target[0] != "percepta" or name == "percepta.__version__":
            continue
        if name == "percepta.System" and rank == RANK["export"]:  # for annotations
            continue
        if len(target) == 1:
            if rank < RANK["web"]:
                out.append(f"{module} imports the package itself, which stands above it")
        elif "commands" in target[2:]:
            out.append(f"{module} imports {name}, which only the command line may")
        elif target[1] in RANK and RANK[target[1]] > rank:
            out.append(f"{module} imports {name}, a later layer")
        elif target[1] not in RANK and rank < RANK["web"]:
            out.append(f"{module} imports {name} from the package itself, which stands above it")
        elif parts[1] == target[1] == "systems" and set(parts[2:3]) != {*target[2:3]} & {*TABLE} != set():
            out.append(f"{module} imports the system {target[2]}: what two need moves down")
    return out


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports_point_back(path: Path) -> None:
    module = module_name(path)
    imports = imported(path.read_text(), module, path.name == "__init__.py")
    assert violations(module, imports) == []


def test_the_rule_catches_what_it_must() -> None:
    for module, source in {
        "percepta.nn.clip": "def f():\n    from percepta.systems import refer",
        "percepta.systems.refer.task": "import percepta.train",
        "percepta.systems.refer.keys": "from ...checkpoint import save",
        "percepta.datasets.coco": "from percepta import load",
        "percepta.config": "from percepta.nn import clip",
        "percepta.oddments": "",
        "percepta.systems.refer.model": "from percepta.systems.refer import commands",
    }.items():
        assert violations(module, imported(source, module, is_package=False)), module
    fine = "import av\nfrom percepta.nn.clip import CLIP\nfrom percepta import __version__\nfrom . import a"
    task = "percepta.systems.refer.task"
    assert violations(task, imported(fine, task, is_package=False)) == []


@pytest.mark.parametrize("name", ["config.py", "__init__.py", *[f"systems/{s}/__init__.py" for s in ("", *TABLE)]])
def test_light_modules_import_nothing_heavy(name: str) -> None:
    path = ROOT / name.replace("//", "/")
    imports = imported(path.read_text(), module_name(path), path.name == "__init__.py", top_only=True)
    assert sorted(i for i in imports if i.split(".")[0] in HEAVY) == []


def fresh(code: str) -> list[str]:
    """Names of the modules that are loaded after `code` ran in a new interpreter."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_importing_percepta_loads_nothing_heavy() -> None:
    assert set(fresh("import percepta; percepta.systems(); percepta.__version__")).isdisjoint(HEAVY)


@pytest.mark.parametrize("system", TABLE)
def test_importing_a_system_loads_no_torch(system: str) -> None:
    loaded = fresh(f"import percepta.config, percepta.systems.{system}")
    assert "torch" not in loaded and "PIL" not in loaded


def test_help_loads_no_torch() -> None:
    first = next(iter(TABLE))
    for line in ["--help", f"train {first} --help", f"predict {first} --help"]:
        code = (
            "from percepta.__main__ import main\n"
            "import contextlib, io\n"
            "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
            f"    main({line.split()})"
        )
        assert "torch" not in fresh(code), line


def test_texts_in_the_tables_point_to_something() -> None:
    for system in TABLE:
        for file in ("__init__.py", "model.py", "data.py", "task.py", "CARD.md"):
            assert (ROOT / "systems" / system / file).is_file(), f"{system} has no {file}"
    for name, (target, text) in COMMANDS.items():
        assert text
        module, _, function = target.partition(":")
        path = ROOT.parent / (module.replace(".", "/") + ".py")
        assert path.is_file() and f"def {function}(" in path.read_text(), f"{name} -> {target}"


def test_extras_that_messages_name_can_be_installed() -> None:
    repository = ROOT.parents[1]
    project = repository / "pyproject.toml"
    if not project.is_file():
        pytest.skip("installed without its repository")
    there = set(tomllib.loads(project.read_text())["project"]["optional-dependencies"])
    named: dict[str, str] = {}
    for path in [*ROOT.rglob("*.py"), *(repository / "benchmarks").glob("*.py"), *ROOT.rglob("*.md")]:
        for extras in re.findall(r"percepta\[([a-z, ]+)\]", path.read_text()):
            named |= {extra.strip(): path.name for extra in extras.split(",")}
    assert named and {extra: file for extra, file in named.items() if extra not in there} == {}
